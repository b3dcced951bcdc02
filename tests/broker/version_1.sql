BEGIN TRANSACTION;
CREATE TABLE queue_bodies (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
INSERT INTO "queue_bodies" VALUES(1,X'7B2275726C223A202268747470733A2F2F612E6578616D706C652F227D');
INSERT INTO "queue_bodies" VALUES(2,X'7365636F6E64');
CREATE TABLE queue_depths (
    queue INTEGER NOT NULL, state INTEGER NOT NULL, messages INTEGER NOT NULL, PRIMARY KEY (queue, state)
) WITHOUT ROWID;
INSERT INTO "queue_depths" VALUES(1,0,0);
INSERT INTO "queue_depths" VALUES(1,1,0);
INSERT INTO "queue_depths" VALUES(1,2,0);
INSERT INTO "queue_depths" VALUES(2,0,2);
INSERT INTO "queue_depths" VALUES(2,1,0);
INSERT INTO "queue_depths" VALUES(2,2,0);
CREATE TABLE queue_messages (
    id INTEGER PRIMARY KEY,         -- its place: the smaller, the older
    queue INTEGER NOT NULL,
    state INTEGER NOT NULL,         -- 0 ready, 1 waiting, 2 leased
    urgency INTEGER NOT NULL,       -- 0 high, 1 normal
    attempts INTEGER NOT NULL,
    returns INTEGER NOT NULL DEFAULT 0,
    submission INTEGER NOT NULL,
    due REAL,                       -- waiting: until then, on the queue's clock
    owner BLOB,                     -- leased: by whom
    token BLOB,                     -- leased: which of its leases
    task_id TEXT NOT NULL
);
INSERT INTO "queue_messages" VALUES(1,2,0,0,2,0,7,NULL,NULL,NULL,'first');
INSERT INTO "queue_messages" VALUES(2,2,0,1,0,0,0,NULL,NULL,NULL,'');
CREATE TABLE queue_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO "queue_meta" VALUES('base',0.0);
INSERT INTO "queue_meta" VALUES('boot','another');
INSERT INTO "queue_meta" VALUES('schema_version',1);
CREATE TABLE queue_names (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    dead_letters INTEGER            -- the queue for what was delivered too often
);
INSERT INTO "queue_names" VALUES(1,'scraper.parked',NULL);
INSERT INTO "queue_names" VALUES(2,'scraper.tasks',1);
CREATE TABLE queue_owners (
    owner BLOB PRIMARY KEY,         -- one per broker object of a process
    queue INTEGER NOT NULL,         -- the tasks queue its consumers are on
    consumers INTEGER NOT NULL,
    until REAL NOT NULL,            -- all its leases run until then, on the queue's clock
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    pid_namespace TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE queue_results (id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, line BLOB NOT NULL);
CREATE INDEX queue_ready ON queue_messages (queue, urgency, id) WHERE state = 0;
CREATE INDEX queue_waiting ON queue_messages (due) WHERE state = 1;
CREATE INDEX queue_leased ON queue_messages (owner) WHERE state = 2;
CREATE TRIGGER queue_message_came AFTER INSERT ON queue_messages BEGIN
    UPDATE queue_depths SET messages = messages + 1 WHERE queue = new.queue AND state = new.state;
END;
CREATE TRIGGER queue_message_moved AFTER UPDATE OF queue, state ON queue_messages BEGIN
    UPDATE queue_depths SET messages = messages - 1 WHERE queue = old.queue AND state = old.state;
    UPDATE queue_depths SET messages = messages + 1 WHERE queue = new.queue AND state = new.state;
END;
CREATE TRIGGER queue_message_went AFTER DELETE ON queue_messages BEGIN
    UPDATE queue_depths SET messages = messages - 1 WHERE queue = old.queue AND state = old.state;
    DELETE FROM queue_bodies WHERE id = old.id;
END;
COMMIT;
