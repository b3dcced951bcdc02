"""What HTTP_PORT and `dashboard` serve. Imports a web server and prometheus-client: only for processes that serve."""
