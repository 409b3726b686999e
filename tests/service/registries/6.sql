BEGIN TRANSACTION;
CREATE TABLE sessions (
    name      TEXT PRIMARY KEY,
    claim     BLOB NOT NULL,               -- SHA-256 of the claim
    phase     INTEGER NOT NULL DEFAULT 0,
    cluster   TEXT,
    scheduler TEXT,
    user      TEXT,
    source    TEXT NOT NULL,               -- address that asked for the name
    job_id    TEXT,                        -- as linked by the launcher
    run_id    TEXT,                        -- job id as given by the agent with its redemption
    address   TEXT,
    port      INTEGER,
    reason    TEXT,                        -- why it is gone
    created   REAL NOT NULL,               -- this and those below: seconds since 1970
    lapsed    REAL,                        -- when the lease ran out; null while it holds
    ended     REAL
, old_dialect INTEGER NOT NULL DEFAULT 0, authenticated INTEGER NOT NULL DEFAULT 0, job_state TEXT, job_reason TEXT, job_estimate REAL, job_seen REAL, redeemed REAL, own_job TEXT, origins TEXT NOT NULL DEFAULT '', notice TEXT) WITHOUT ROWID;
INSERT INTO "sessions" VALUES('crease-sincere-rebuff',X'47B97C6078F8F06D8189326B942D825101931ABD7ABF08D940ABF12C6BF25E9E',2,'comet','slurm','alice','192.0.2.1',NULL,'19','192.0.2.78',40002,NULL,1.79593933293056225771e+09,1.79593933293223428733e+09,NULL,0,0,NULL,NULL,NULL,NULL,1.79593933293178296094e+09,NULL,'',NULL);
INSERT INTO "sessions" VALUES('elaborate-viscosity-untwist',X'1E74303A5D0A3E99397D94DCF5FF3691422BA8E194B6369598883F0840ADE16A',1,'comet','slurm','alice','192.0.2.1','17',NULL,NULL,NULL,NULL,1.79593933291686081886e+09,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,'',NULL);
INSERT INTO "sessions" VALUES('gangrene-unusable-amply',X'ED42795FB5CB37E0EC9F72531373CF3E7AC5165F2872D694961B49BFC532F173',2,NULL,NULL,NULL,'192.0.2.1','20',NULL,'192.0.2.79',40004,NULL,1.79593933294313096993e+09,NULL,NULL,1,0,NULL,NULL,NULL,NULL,1.79593933294706559178e+09,NULL,'',NULL);
INSERT INTO "sessions" VALUES('payer-unbundle-lapped',X'16EED99827C6CEDB10DAE74D091F56D6D10DC149E616992B3DCDF9E1CEC419E1',2,'comet','slurm','alice','192.0.2.1','18','18','192.0.2.77',40001,NULL,1.79593933292269849772e+09,NULL,NULL,0,0,NULL,NULL,NULL,NULL,1.79593933292666935921e+09,NULL,'https://dash.example.org',NULL);
INSERT INTO "sessions" VALUES('scorn-folic-vitally',X'39D9A87FD5F2FBFE9F489E638017AC2EFA516C3200E298ACA9D1FE0E63BADBF5',0,'comet','slurm','alice','192.0.2.1',NULL,NULL,NULL,NULL,NULL,1.79593933291226077074e+09,NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,NULL,'',NULL);
INSERT INTO "sessions" VALUES('splotchy-finance-record',X'9F788D1F9AC4FD4E69756B004E8AC4E3513251AB50E003AFE8325C995A026696',3,'comet','slurm','alice','192.0.2.1',NULL,NULL,NULL,NULL,'stopped',1.79593933293870615958e+09,NULL,1.79593933294266963002e+09,0,0,'gone',NULL,NULL,1795939332.93904,NULL,NULL,'',NULL);
CREATE INDEX pending ON sessions (source, user) WHERE phase < 2;
CREATE INDEX by_phase ON sessions (phase);
CREATE TRIGGER phases_never_go_back BEFORE UPDATE OF phase ON sessions WHEN NEW.phase < OLD.phase
BEGIN SELECT RAISE(ABORT, 'a phase never goes back'); END;
CREATE INDEX by_job ON sessions (job_id) WHERE phase < 3;
CREATE INDEX pending_of_user ON sessions (user) WHERE phase < 2 AND authenticated = 1;
CREATE INDEX old_routes ON sessions (redeemed) WHERE phase = 2 AND old_dialect = 1;
COMMIT;
PRAGMA user_version = 6;
