-- The store that MLflow 1.30.1 made and filled, as SQLite prints it.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('97727af70f4d');
CREATE TABLE experiment_tags (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	experiment_id INTEGER NOT NULL, 
	CONSTRAINT experiment_tag_pk PRIMARY KEY ("key", experiment_id), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id)
);
INSERT INTO "experiment_tags" VALUES('team','a',1);
CREATE TABLE experiments (
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	artifact_location VARCHAR(256), 
	lifecycle_stage VARCHAR(32), creation_time BIGINT, last_update_time BIGINT, 
	CONSTRAINT experiment_pk PRIMARY KEY (experiment_id), 
	CONSTRAINT experiments_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	UNIQUE (name)
);
INSERT INTO "experiments" VALUES(0,'Default','./mlruns/0','active',1795257394951,1795257394951);
INSERT INTO "experiments" VALUES(1,'from 2.9','mlflow-artifacts:/1','active',1795257394971,1795257394971);
INSERT INTO "experiments" VALUES(2,'gone','mlflow-artifacts:/2','deleted',1795257395094,1795257395947);
CREATE TABLE "latest_metrics" (
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT NOT NULL, 
	timestamp BIGINT, 
	step BIGINT NOT NULL, 
	is_nan BOOLEAN NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT latest_metric_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid), 
	CHECK (is_nan IN (0, 1))
);
INSERT INTO "latest_metrics" VALUES('loss',2.5,1700000001005,5,0,'8956125203db41e5bb065b81901a0351');
INSERT INTO "latest_metrics" VALUES('val/acc',0.5,1700000001000,0,0,'47eccbb8068e4511918857461109df76');
CREATE TABLE "metrics" (
	"key" VARCHAR(250) NOT NULL, 
	value FLOAT NOT NULL, 
	timestamp BIGINT NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	step BIGINT DEFAULT '0' NOT NULL, 
	is_nan BOOLEAN DEFAULT '0' NOT NULL, 
	CONSTRAINT metric_pk PRIMARY KEY ("key", timestamp, step, run_uuid, value, is_nan), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid), 
	CHECK (is_nan IN (0, 1))
);
INSERT INTO "metrics" VALUES('loss',0.5,1700000001000,'8956125203db41e5bb065b81901a0351',0,0);
INSERT INTO "metrics" VALUES('val/acc',0.5,1700000001000,'47eccbb8068e4511918857461109df76',0,0);
INSERT INTO "metrics" VALUES('loss',0.0,1700000001001,'8956125203db41e5bb065b81901a0351',1,1);
INSERT INTO "metrics" VALUES('val/acc',0.0,1700000001000,'47eccbb8068e4511918857461109df76',-1,1);
INSERT INTO "metrics" VALUES('loss',1.79769313486231562234e+308,1700000001002,'8956125203db41e5bb065b81901a0351',2,0);
INSERT INTO "metrics" VALUES('val/acc',1.79769313486231562234e+308,1700000001000,'47eccbb8068e4511918857461109df76',-2,0);
INSERT INTO "metrics" VALUES('loss',-1.79769313486231562234e+308,1700000001003,'8956125203db41e5bb065b81901a0351',3,0);
INSERT INTO "metrics" VALUES('val/acc',-1.79769313486231562234e+308,1700000001000,'47eccbb8068e4511918857461109df76',-3,0);
INSERT INTO "metrics" VALUES('loss',1.0e-300,1700000001004,'8956125203db41e5bb065b81901a0351',4,0);
INSERT INTO "metrics" VALUES('val/acc',1.0e-300,1700000001000,'47eccbb8068e4511918857461109df76',-4,0);
INSERT INTO "metrics" VALUES('loss',2.5,1700000001005,'8956125203db41e5bb065b81901a0351',5,0);
INSERT INTO "metrics" VALUES('val/acc',2.5,1700000001000,'47eccbb8068e4511918857461109df76',-5,0);
CREATE TABLE model_version_tags (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	name VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	CONSTRAINT model_version_tag_pk PRIMARY KEY ("key", name, version), 
	FOREIGN KEY(name, version) REFERENCES model_versions (name, version) ON UPDATE cascade
);
CREATE TABLE "model_versions" (
	name VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	creation_time BIGINT, 
	last_updated_time BIGINT, 
	description VARCHAR(5000), 
	user_id VARCHAR(256), 
	current_stage VARCHAR(20), 
	source VARCHAR(500), 
	run_id VARCHAR(32), 
	status VARCHAR(20), 
	status_message VARCHAR(500), 
	run_link VARCHAR(500), 
	CONSTRAINT model_version_pk PRIMARY KEY (name, version), 
	FOREIGN KEY(name) REFERENCES registered_models (name) ON UPDATE CASCADE
);
CREATE TABLE "params" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(500) NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT param_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "params" VALUES('lr','0.1','8956125203db41e5bb065b81901a0351');
INSERT INTO "params" VALUES('long','xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx','8956125203db41e5bb065b81901a0351');
CREATE TABLE registered_model_tags (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	name VARCHAR(256) NOT NULL, 
	CONSTRAINT registered_model_tag_pk PRIMARY KEY ("key", name), 
	FOREIGN KEY(name) REFERENCES registered_models (name) ON UPDATE cascade
);
CREATE TABLE registered_models (
	name VARCHAR(256) NOT NULL, 
	creation_time BIGINT, 
	last_updated_time BIGINT, 
	description VARCHAR(5000), 
	CONSTRAINT registered_model_pk PRIMARY KEY (name), 
	UNIQUE (name)
);
CREATE TABLE "runs" (
	run_uuid VARCHAR(32) NOT NULL, 
	name VARCHAR(250), 
	source_type VARCHAR(20), 
	source_name VARCHAR(500), 
	entry_point_name VARCHAR(50), 
	user_id VARCHAR(256), 
	status VARCHAR(9), 
	start_time BIGINT, 
	end_time BIGINT, 
	source_version VARCHAR(50), 
	lifecycle_stage VARCHAR(20), 
	artifact_uri VARCHAR(200), 
	experiment_id INTEGER, deleted_time BIGINT, 
	CONSTRAINT run_pk PRIMARY KEY (run_uuid), 
	CONSTRAINT runs_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')), 
	CONSTRAINT source_type CHECK (source_type IN ('NOTEBOOK', 'JOB', 'LOCAL', 'UNKNOWN', 'PROJECT')), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id), 
	CHECK (status IN ('SCHEDULED', 'FAILED', 'FINISHED', 'RUNNING', 'KILLED'))
);
INSERT INTO "runs" VALUES('8956125203db41e5bb065b81901a0351','parent','UNKNOWN','','','ann','FINISHED',1700000000000,1700000009000,'','active','mlflow-artifacts:/1/8956125203db41e5bb065b81901a0351/artifacts',1,NULL);
INSERT INTO "runs" VALUES('47eccbb8068e4511918857461109df76','child','UNKNOWN','','','unknown','KILLED',1700000000100,1700000008000,'','active','mlflow-artifacts:/1/47eccbb8068e4511918857461109df76/artifacts',1,NULL);
INSERT INTO "runs" VALUES('a312becfcb08459fa080e121e284fc07','in a deleted experiment','UNKNOWN','','','unknown','RUNNING',1700000000200,NULL,'','deleted','mlflow-artifacts:/2/a312becfcb08459fa080e121e284fc07/artifacts',2,1795257395965);
INSERT INTO "runs" VALUES('a0ac243c01fe499983c6e489a9eb42ef','deleted','UNKNOWN','','','unknown','RUNNING',1700000000300,NULL,'','deleted','mlflow-artifacts:/1/a0ac243c01fe499983c6e489a9eb42ef/artifacts',1,1795257395930);
CREATE TABLE "tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT tag_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "tags" VALUES('mlflow.user','ann','8956125203db41e5bb065b81901a0351');
INSERT INTO "tags" VALUES('mlflow.runName','parent','8956125203db41e5bb065b81901a0351');
INSERT INTO "tags" VALUES('mlflow.parentRunId','8956125203db41e5bb065b81901a0351','47eccbb8068e4511918857461109df76');
INSERT INTO "tags" VALUES('mlflow.runName','child','47eccbb8068e4511918857461109df76');
INSERT INTO "tags" VALUES('mlflow.runName','in a deleted experiment','a312becfcb08459fa080e121e284fc07');
INSERT INTO "tags" VALUES('mlflow.runName','deleted','a0ac243c01fe499983c6e489a9eb42ef');
INSERT INTO "tags" VALUES('a/b','é
y','8956125203db41e5bb065b81901a0351');
CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);
CREATE INDEX index_latest_metrics_run_uuid ON latest_metrics (run_uuid);
CREATE INDEX index_tags_run_uuid ON tags (run_uuid);
CREATE INDEX index_params_run_uuid ON params (run_uuid);
COMMIT;
