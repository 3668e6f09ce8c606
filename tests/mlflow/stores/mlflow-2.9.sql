-- The store that MLflow 2.9.2 made and filled, as SQLite prints it.
BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('acf3f17fdcc7');
CREATE TABLE datasets (
	dataset_uuid VARCHAR(36) NOT NULL, 
	experiment_id INTEGER NOT NULL, 
	name VARCHAR(500) NOT NULL, 
	digest VARCHAR(36) NOT NULL, 
	dataset_source_type VARCHAR(36) NOT NULL, 
	dataset_source TEXT NOT NULL, 
	dataset_schema TEXT, 
	dataset_profile TEXT, 
	CONSTRAINT dataset_pk PRIMARY KEY (experiment_id, name, digest), 
	FOREIGN KEY(experiment_id) REFERENCES experiments (experiment_id)
);
INSERT INTO "datasets" VALUES('b0ee635dd6ea445a9d32202b1e699097',1,'train','d1','local','there','{}','{}');
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
INSERT INTO "experiments" VALUES(0,'Default','./mlruns/0','active',1795257012022,1795257012022);
INSERT INTO "experiments" VALUES(1,'from 2.9','mlflow-artifacts:/1','active',1795257012041,1795257012041);
INSERT INTO "experiments" VALUES(2,'gone','mlflow-artifacts:/2','deleted',1795257012050,1795257012355);
CREATE TABLE input_tags (
	input_uuid VARCHAR(36) NOT NULL, 
	name VARCHAR(255) NOT NULL, 
	value VARCHAR(500) NOT NULL, 
	CONSTRAINT input_tags_pk PRIMARY KEY (input_uuid, name)
);
INSERT INTO "input_tags" VALUES('5d215ed3f7814c4dae3fca45c394f72f','mlflow.data.context','train');
CREATE TABLE inputs (
	input_uuid VARCHAR(36) NOT NULL, 
	source_type VARCHAR(36) NOT NULL, 
	source_id VARCHAR(36) NOT NULL, 
	destination_type VARCHAR(36) NOT NULL, 
	destination_id VARCHAR(36) NOT NULL, 
	CONSTRAINT inputs_pk PRIMARY KEY (source_type, source_id, destination_type, destination_id)
);
INSERT INTO "inputs" VALUES('5d215ed3f7814c4dae3fca45c394f72f','DATASET','b0ee635dd6ea445a9d32202b1e699097','RUN','a67560c8f6304e7db9b5aca5d5db7a67');
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
INSERT INTO "latest_metrics" VALUES('loss',2.5,1700000001005,5,0,'a67560c8f6304e7db9b5aca5d5db7a67');
INSERT INTO "latest_metrics" VALUES('val/acc',0.5,1700000001000,0,0,'128f7b81daa44f3596825642eda21f4f');
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
INSERT INTO "metrics" VALUES('loss',0.5,1700000001000,'a67560c8f6304e7db9b5aca5d5db7a67',0,0);
INSERT INTO "metrics" VALUES('val/acc',0.5,1700000001000,'128f7b81daa44f3596825642eda21f4f',0,0);
INSERT INTO "metrics" VALUES('loss',0.0,1700000001001,'a67560c8f6304e7db9b5aca5d5db7a67',1,1);
INSERT INTO "metrics" VALUES('val/acc',0.0,1700000001000,'128f7b81daa44f3596825642eda21f4f',-1,1);
INSERT INTO "metrics" VALUES('loss',1.79769313486231562234e+308,1700000001002,'a67560c8f6304e7db9b5aca5d5db7a67',2,0);
INSERT INTO "metrics" VALUES('val/acc',1.79769313486231562234e+308,1700000001000,'128f7b81daa44f3596825642eda21f4f',-2,0);
INSERT INTO "metrics" VALUES('loss',-1.79769313486231562234e+308,1700000001003,'a67560c8f6304e7db9b5aca5d5db7a67',3,0);
INSERT INTO "metrics" VALUES('val/acc',-1.79769313486231562234e+308,1700000001000,'128f7b81daa44f3596825642eda21f4f',-3,0);
INSERT INTO "metrics" VALUES('loss',1.0e-300,1700000001004,'a67560c8f6304e7db9b5aca5d5db7a67',4,0);
INSERT INTO "metrics" VALUES('val/acc',1.0e-300,1700000001000,'128f7b81daa44f3596825642eda21f4f',-4,0);
INSERT INTO "metrics" VALUES('loss',2.5,1700000001005,'a67560c8f6304e7db9b5aca5d5db7a67',5,0);
INSERT INTO "metrics" VALUES('val/acc',2.5,1700000001000,'128f7b81daa44f3596825642eda21f4f',-5,0);
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
	run_link VARCHAR(500), storage_location VARCHAR(500), 
	CONSTRAINT model_version_pk PRIMARY KEY (name, version), 
	FOREIGN KEY(name) REFERENCES registered_models (name) ON UPDATE CASCADE
);
CREATE TABLE "params" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(8000) NOT NULL, 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT param_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "params" VALUES('lr','0.1','a67560c8f6304e7db9b5aca5d5db7a67');
INSERT INTO "params" VALUES('long','xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx','a67560c8f6304e7db9b5aca5d5db7a67');
CREATE TABLE registered_model_aliases (
	alias VARCHAR(256) NOT NULL, 
	version INTEGER NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	CONSTRAINT registered_model_alias_pk PRIMARY KEY (name, alias), 
	CONSTRAINT registered_model_alias_name_fkey FOREIGN KEY(name) REFERENCES registered_models (name) ON DELETE cascade ON UPDATE cascade
);
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
INSERT INTO "runs" VALUES('a67560c8f6304e7db9b5aca5d5db7a67','parent','UNKNOWN','','','ann','FINISHED',1700000000000,1700000009000,'','active','mlflow-artifacts:/1/a67560c8f6304e7db9b5aca5d5db7a67/artifacts',1,NULL);
INSERT INTO "runs" VALUES('128f7b81daa44f3596825642eda21f4f','child','UNKNOWN','','','unknown','KILLED',1700000000100,1700000008000,'','active','mlflow-artifacts:/1/128f7b81daa44f3596825642eda21f4f/artifacts',1,NULL);
INSERT INTO "runs" VALUES('31f6e773a3784166a93d2dc7e1707808','in a deleted experiment','UNKNOWN','','','unknown','RUNNING',1700000000200,NULL,'','deleted','mlflow-artifacts:/2/31f6e773a3784166a93d2dc7e1707808/artifacts',2,1795257012363);
INSERT INTO "runs" VALUES('7935f497b53a4656b1453a1e38ec9025','deleted','UNKNOWN','','','unknown','RUNNING',1700000000300,NULL,'','deleted','mlflow-artifacts:/1/7935f497b53a4656b1453a1e38ec9025/artifacts',1,1795257012350);
CREATE TABLE "tags" (
	"key" VARCHAR(250) NOT NULL, 
	value VARCHAR(5000), 
	run_uuid VARCHAR(32) NOT NULL, 
	CONSTRAINT tag_pk PRIMARY KEY ("key", run_uuid), 
	FOREIGN KEY(run_uuid) REFERENCES runs (run_uuid)
);
INSERT INTO "tags" VALUES('mlflow.user','ann','a67560c8f6304e7db9b5aca5d5db7a67');
INSERT INTO "tags" VALUES('mlflow.runName','parent','a67560c8f6304e7db9b5aca5d5db7a67');
INSERT INTO "tags" VALUES('mlflow.parentRunId','a67560c8f6304e7db9b5aca5d5db7a67','128f7b81daa44f3596825642eda21f4f');
INSERT INTO "tags" VALUES('mlflow.runName','child','128f7b81daa44f3596825642eda21f4f');
INSERT INTO "tags" VALUES('mlflow.runName','in a deleted experiment','31f6e773a3784166a93d2dc7e1707808');
INSERT INTO "tags" VALUES('mlflow.runName','deleted','7935f497b53a4656b1453a1e38ec9025');
INSERT INTO "tags" VALUES('a/b','é
y','a67560c8f6304e7db9b5aca5d5db7a67');
CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid);
CREATE INDEX index_latest_metrics_run_uuid ON latest_metrics (run_uuid);
CREATE INDEX index_tags_run_uuid ON tags (run_uuid);
CREATE INDEX index_datasets_dataset_uuid ON datasets (dataset_uuid);
CREATE INDEX index_datasets_experiment_id_dataset_source_type ON datasets (experiment_id, dataset_source_type);
CREATE INDEX index_inputs_destination_type_destination_id_source_type ON inputs (destination_type, destination_id, source_type);
CREATE INDEX index_inputs_input_uuid ON inputs (input_uuid);
CREATE INDEX index_params_run_uuid ON params (run_uuid);
COMMIT;
