BEGIN TRANSACTION;
CREATE TABLE results_counts (status TEXT, reason TEXT, n INTEGER NOT NULL, PRIMARY KEY (status, reason)) WITHOUT ROWID;
INSERT INTO "results_counts" VALUES('done','',1);
INSERT INTO "results_counts" VALUES('parked','page_gone',1);
CREATE TABLE results_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO "results_meta" VALUES('schema_version',1);
CREATE TABLE results_remains (
    seq INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    page BLOB,                             -- zlib
    answer TEXT
);
INSERT INTO "results_remains" VALUES(2,X'7B2275726C223A2268747470733A2F2F612E6578616D706C652F32222C22736368656D61223A2270726F64756374227D',X'789CB329B0732F3ABCE7F0FC541BFD023B002DCD0603','{"na');
CREATE TABLE results_rows (
    seq INTEGER PRIMARY KEY,               -- order of first arrival; kept when the row is replaced
    task_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('done', 'parked')),
    content_sha256 TEXT NOT NULL,
    submission INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,          -- microseconds since 1970, UTC
    host TEXT,
    url TEXT,
    reason TEXT,
    error TEXT,
    model TEXT,
    attempts INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    data TEXT,                             -- JSON from here on; NULL for null and for empty
    fields TEXT,
    unsupported TEXT,
    cut TEXT,
    timings TEXT,
    metadata TEXT
);
INSERT INTO "results_rows" VALUES(1,'done-one','done','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',0,1777863721123456,'a.example','https://a.example/1',NULL,NULL,NULL,1,0,0,0,0,0,'{"name":"Kettle"}',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "results_rows" VALUES(2,'parked-one','parked','dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd',0,1777863721123456,'a.example','https://a.example/2','page_gone','404',NULL,1,0,0,0,0,0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE results_submitted (
    task_id TEXT PRIMARY KEY,
    submitted_at INTEGER NOT NULL          -- microseconds since 1970, UTC
) WITHOUT ROWID;
INSERT INTO "results_submitted" VALUES('waiting-one',1795701018944546);
CREATE INDEX results_by_age ON results_rows (finished_at);
CREATE INDEX results_parked ON results_rows (status) WHERE status = 'parked';
CREATE INDEX results_parked_by_reason ON results_rows (reason, finished_at) WHERE status = 'parked';
CREATE INDEX results_parked_by_host ON results_rows (host, finished_at) WHERE status = 'parked';
CREATE TRIGGER results_row_added AFTER INSERT ON results_rows BEGIN
    INSERT INTO results_counts VALUES (new.status, ifnull(new.reason, ''), 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER results_row_replaced AFTER UPDATE OF status, reason ON results_rows BEGIN
    UPDATE results_counts SET n = n - 1 WHERE status = old.status AND reason = ifnull(old.reason, '');
    INSERT INTO results_counts VALUES (new.status, ifnull(new.reason, ''), 1) ON CONFLICT DO UPDATE SET n = n + 1;
    DELETE FROM results_remains WHERE new.status = 'done' AND seq = new.seq;
END;
CREATE TRIGGER results_row_removed AFTER DELETE ON results_rows BEGIN
    UPDATE results_counts SET n = n - 1 WHERE status = old.status AND reason = ifnull(old.reason, '');
    DELETE FROM results_remains WHERE seq = old.seq;
END;
COMMIT;
