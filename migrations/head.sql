-- What a ledger is made of, as SQLite tells it of one that came by all migrations up to 0008.
-- Made by `python migrations/head.py`; a test compares it with the migrations.

CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE budget_windows (
	id INTEGER NOT NULL, 
	scope TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	name TEXT NOT NULL, 
	period TEXT NOT NULL, 
	label TEXT NOT NULL, 
	zone TEXT NOT NULL, 
	ends_at TEXT, 
	cap_micros INTEGER NOT NULL, 
	open_micros INTEGER NOT NULL, 
	settled_micros INTEGER NOT NULL, entry_id INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_budget_windows PRIMARY KEY (id), 
	CONSTRAINT ck_budget_windows_scope CHECK (scope IN ('workspace', 'recipe', 'run')), 
	CONSTRAINT ck_budget_windows_open CHECK (open_micros >= 0), 
	CONSTRAINT ck_budget_windows_settled CHECK (settled_micros >= 0), 
	CONSTRAINT uq_budget_windows_workspace_scope_name_period_label UNIQUE (workspace, scope, name, period, label)
);

CREATE TABLE deliveries (
	output_path TEXT NOT NULL, 
	item_key TEXT NOT NULL, 
	result_digest TEXT NOT NULL, 
	at TEXT NOT NULL, entry_id INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_deliveries PRIMARY KEY (output_path)
);

CREATE TABLE prices (
	workspace TEXT NOT NULL, 
	model TEXT NOT NULL, 
	settled_count INTEGER NOT NULL, 
	highest_micros INTEGER NOT NULL, 
	CONSTRAINT pk_prices PRIMARY KEY (workspace, model)
);

CREATE TABLE texts (
	digest TEXT NOT NULL, 
	text TEXT NOT NULL, 
	CONSTRAINT pk_texts PRIMARY KEY (digest)
);

CREATE TABLE workspaces (
	name TEXT NOT NULL, 
	currency TEXT NOT NULL, 
	CONSTRAINT pk_workspaces PRIMARY KEY (name)
);

CREATE TABLE runs (
	id INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	recipe TEXT NOT NULL, 
	recipe_path TEXT NOT NULL, 
	recipe_digest TEXT NOT NULL, 
	git_commit TEXT, 
	git_dirty INTEGER, 
	slot TEXT, 
	cost_centre TEXT, 
	labels TEXT NOT NULL, 
	who TEXT NOT NULL, 
	program TEXT NOT NULL, 
	started_at TEXT NOT NULL, 
	ended_at TEXT, 
	outcome TEXT, author TEXT, approver TEXT, approval TEXT, 
	CONSTRAINT pk_runs PRIMARY KEY (id), 
	CONSTRAINT fk_runs_workspace_workspaces FOREIGN KEY(workspace) REFERENCES workspaces (name), 
	CONSTRAINT uq_runs_uid UNIQUE (uid)
);

CREATE INDEX ix_runs_open ON runs (ended_at) WHERE ended_at IS NULL;

CREATE TABLE attempts (
	id INTEGER NOT NULL, 
	run_id INTEGER NOT NULL, 
	workspace TEXT NOT NULL, 
	recipe TEXT NOT NULL, 
	model TEXT NOT NULL, 
	item_key TEXT NOT NULL, 
	live_key TEXT, 
	source_path TEXT NOT NULL, 
	source_digest TEXT NOT NULL, 
	source_bytes INTEGER NOT NULL, 
	prompt_name TEXT NOT NULL, 
	prompt_digest TEXT NOT NULL, 
	negative_digest TEXT, 
	preset_name TEXT NOT NULL, 
	options TEXT NOT NULL, 
	output_path TEXT NOT NULL, 
	state TEXT NOT NULL, 
	reserved_micros INTEGER NOT NULL, 
	billed_micros INTEGER, 
	billed_text TEXT, 
	breach INTEGER NOT NULL, 
	code TEXT, 
	message TEXT, 
	status INTEGER, 
	request_id TEXT, 
	headers TEXT, 
	body_head TEXT, 
	result_digest TEXT, 
	result_bytes INTEGER, 
	result_width INTEGER, 
	result_height INTEGER, 
	remark TEXT, 
	day TEXT NOT NULL, 
	reserved_at TEXT NOT NULL, 
	sent_at TEXT, 
	ended_at TEXT, 
	CONSTRAINT pk_attempts PRIMARY KEY (id), 
	CONSTRAINT ck_attempts_settled_is_billed CHECK ((state = 'settled') = (billed_micros IS NOT NULL)), 
	CONSTRAINT ck_attempts_live_has_key CHECK ((state IN ('reserved', 'sent', 'unknown')) = (live_key IS NOT NULL)), 
	CONSTRAINT ck_attempts_state CHECK (state IN ('reserved', 'sent', 'unknown', 'settled', 'released')), 
	CONSTRAINT ck_attempts_billed CHECK (billed_micros IS NULL OR billed_micros >= 0), 
	CONSTRAINT ck_attempts_reserved CHECK (reserved_micros > 0), 
	CONSTRAINT fk_attempts_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id), 
	CONSTRAINT uq_attempts_workspace_live_key UNIQUE (workspace, live_key)
);

CREATE INDEX ix_attempts_day ON attempts (workspace, day);

CREATE INDEX ix_attempts_item ON attempts (workspace, item_key, state);

CREATE INDEX ix_attempts_moving ON attempts (run_id) WHERE state IN ('reserved', 'sent');

CREATE INDEX ix_attempts_place ON attempts (workspace, recipe, source_path);

CREATE INDEX ix_attempts_price ON attempts (workspace, model, state, id);

CREATE INDEX ix_attempts_run ON attempts (run_id, state);

CREATE TABLE attempt_windows (
	attempt_id INTEGER NOT NULL, 
	window_id INTEGER NOT NULL, 
	CONSTRAINT pk_attempt_windows PRIMARY KEY (attempt_id, window_id), 
	CONSTRAINT fk_attempt_windows_attempt_id_attempts FOREIGN KEY(attempt_id) REFERENCES attempts (id), 
	CONSTRAINT fk_attempt_windows_window_id_budget_windows FOREIGN KEY(window_id) REFERENCES budget_windows (id)
)
 WITHOUT ROWID

;

CREATE INDEX ix_attempt_windows_window ON attempt_windows (window_id, attempt_id);

CREATE TABLE ledger_state (
	id INTEGER NOT NULL, 
	uid TEXT NOT NULL, 
	boot TEXT, 
	boot_ns INTEGER, 
	boot_at TEXT, 
	clock_doubt TEXT, 
	frozen_reason TEXT, digest_key TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_ledger_state PRIMARY KEY (id), 
	CONSTRAINT ck_ledger_state_one CHECK (id = 1)
);

CREATE TABLE levers (
	id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	workspace TEXT, 
	period TEXT, 
	label TEXT, 
	amount_micros INTEGER, 
	until TEXT, 
	reason TEXT NOT NULL, 
	who TEXT NOT NULL, 
	at TEXT NOT NULL, 
	ended_at TEXT, 
	ended_by TEXT, 
	ended_note TEXT, 
	CONSTRAINT pk_levers PRIMARY KEY (id), 
	CONSTRAINT ck_levers_kind CHECK (kind IN ('stop', 'breach', 'grant')), 
	CONSTRAINT ck_levers_grant_has_an_amount CHECK ((kind = 'grant') = (amount_micros IS NOT NULL)), 
	CONSTRAINT ck_levers_amount CHECK (amount_micros IS NULL OR amount_micros > 0)
);

CREATE INDEX ix_levers_active ON levers (workspace) WHERE ended_at IS NULL;

CREATE TABLE chains (
	workspace TEXT NOT NULL, 
	head BLOB NOT NULL, 
	frontier BLOB NOT NULL, 
	CONSTRAINT pk_chains PRIMARY KEY (workspace)
);

CREATE TABLE entries (
	id INTEGER NOT NULL, 
	at TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	attempt_id INTEGER, 
	kind TEXT NOT NULL, 
	open_micros INTEGER NOT NULL, 
	settled_micros INTEGER NOT NULL, 
	who TEXT NOT NULL, 
	note TEXT, 
	seq INTEGER NOT NULL, 
	payload BLOB NOT NULL, 
	hash BLOB NOT NULL, 
	CONSTRAINT pk_entries PRIMARY KEY (id), 
	CONSTRAINT fk_entries_attempt_id_attempts FOREIGN KEY(attempt_id) REFERENCES attempts (id), 
	CONSTRAINT uq_entries_workspace_seq UNIQUE (workspace, seq)
);

CREATE INDEX ix_entries_attempt ON entries (attempt_id);

CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: add a correction instead'); END;

CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: add a correction instead'); END;

CREATE TABLE schedules (
	recipe TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	timing TEXT, 
	zone TEXT NOT NULL, 
	since TEXT NOT NULL, 
	paused_at TEXT, 
	paused_by TEXT, 
	paused_reason TEXT, 
	entry_id INTEGER NOT NULL, 
	CONSTRAINT pk_schedules PRIMARY KEY (recipe)
);

CREATE TABLE slots (
	id INTEGER NOT NULL, 
	recipe TEXT NOT NULL, 
	due_at TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	state TEXT NOT NULL, 
	reason TEXT, 
	run_uid TEXT, 
	owner TEXT, 
	who TEXT NOT NULL, 
	claimed_at TEXT NOT NULL, 
	begun_at TEXT, 
	ended_at TEXT, 
	expected_micros INTEGER, 
	billed_micros INTEGER, 
	bought INTEGER, 
	entry_id INTEGER NOT NULL, 
	CONSTRAINT pk_slots PRIMARY KEY (id), 
	CONSTRAINT ck_slots_state CHECK (state IN ('waiting', 'running', 'ran', 'skipped', 'refused', 'failed', 'missed', 'overlapped')), 
	CONSTRAINT ck_slots_open_has_no_end CHECK ((state IN ('waiting', 'running')) = (ended_at IS NULL)), 
	CONSTRAINT uq_slots_recipe_due_at UNIQUE (recipe, due_at)
);

CREATE INDEX ix_slots_open ON slots (recipe) WHERE state IN ('waiting', 'running');

CREATE INDEX ix_slots_due ON slots (due_at);

CREATE TABLE alerts (
	"key" TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	workspace TEXT, 
	message TEXT NOT NULL, 
	hint TEXT, 
	at TEXT NOT NULL, 
	entry_id INTEGER NOT NULL, 
	CONSTRAINT pk_alerts PRIMARY KEY ("key")
);

CREATE TABLE alert_sendings (
	alert TEXT NOT NULL, 
	channel TEXT NOT NULL, 
	state TEXT NOT NULL, 
	tries INTEGER NOT NULL, 
	next_at TEXT, 
	error TEXT, 
	at TEXT NOT NULL, 
	entry_id INTEGER NOT NULL, 
	CONSTRAINT pk_alert_sendings PRIMARY KEY (alert, channel), 
	CONSTRAINT ck_alert_sendings_state CHECK (state IN ('waiting', 'sent', 'given-up')), 
	CONSTRAINT ck_alert_sendings_waiting_has_a_moment CHECK ((state = 'waiting') = (next_at IS NOT NULL))
);

CREATE INDEX ix_alert_sendings_waiting ON alert_sendings (next_at) WHERE state = 'waiting';

CREATE TABLE reconciled (
	"key" TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	attempt_id INTEGER, 
	verdict TEXT NOT NULL, 
	evidence TEXT, 
	ours_micros INTEGER, 
	theirs_micros INTEGER, 
	line_key TEXT, 
	billed_at TEXT, 
	invoice TEXT NOT NULL, 
	file_name TEXT NOT NULL, 
	file_digest TEXT NOT NULL, 
	line INTEGER, 
	who TEXT NOT NULL, 
	at TEXT NOT NULL, 
	entry_id INTEGER NOT NULL, 
	CONSTRAINT pk_reconciled PRIMARY KEY ("key"), 
	CONSTRAINT ck_reconciled_verdict CHECK (verdict IN ('matched', 'billed', 'not-billed', 'differs', 'only-ours', 'only-theirs', 'duplicate', 'credit', 'billed-released', 'explained'))
);

CREATE INDEX ix_reconciled_attempt ON reconciled (attempt_id, verdict);

CREATE TABLE approvals (
	"plan" TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	amount_micros INTEGER NOT NULL, 
	expires_at TEXT NOT NULL, 
	approver TEXT NOT NULL, 
	signatures TEXT NOT NULL, 
	made_by TEXT NOT NULL, 
	made_at TEXT NOT NULL, 
	entry_id INTEGER NOT NULL, 
	CONSTRAINT pk_approvals PRIMARY KEY ("plan"), 
	CONSTRAINT ck_approvals_amount CHECK (amount_micros > 0)
);

CREATE INDEX ix_runs_approval ON runs (approval) WHERE approval IS NOT NULL;

CREATE TABLE closings (
	workspace TEXT NOT NULL, 
	last_day TEXT NOT NULL, 
	first_day TEXT NOT NULL, 
	period TEXT NOT NULL, 
	label TEXT NOT NULL, 
	zone TEXT NOT NULL, 
	at TEXT NOT NULL, 
	who TEXT NOT NULL, 
	program TEXT NOT NULL, 
	totals TEXT NOT NULL, 
	budgets TEXT NOT NULL, 
	digest TEXT NOT NULL, 
	note TEXT NOT NULL, 
	entry_id INTEGER NOT NULL, 
	CONSTRAINT pk_closings PRIMARY KEY (workspace, last_day), 
	CONSTRAINT ck_closings_days CHECK (first_day <= last_day)
);

CREATE TABLE corrections (
	attempt_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	workspace TEXT NOT NULL, 
	day TEXT NOT NULL, 
	at TEXT NOT NULL, 
	before_state TEXT NOT NULL, 
	before_code TEXT, 
	before_picture INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	billed_micros INTEGER, 
	code TEXT, 
	who TEXT NOT NULL, 
	reason TEXT, 
	entry_id INTEGER NOT NULL, 
	CONSTRAINT pk_corrections PRIMARY KEY (attempt_id, number), 
	CONSTRAINT ck_corrections_before CHECK (before_state IN ('reserved', 'sent', 'unknown')), 
	CONSTRAINT ck_corrections_state CHECK (state IN ('unknown', 'settled', 'released') AND state <> before_state), 
	CONSTRAINT ck_corrections_settled_is_billed CHECK ((state = 'settled') = (billed_micros IS NOT NULL)), 
	CONSTRAINT fk_corrections_attempt_id_attempts FOREIGN KEY(attempt_id) REFERENCES attempts (id)
);

CREATE INDEX ix_corrections_day ON corrections (workspace, day);

CREATE TRIGGER attempts_closed_insert BEFORE INSERT ON attempts WHEN NEW.day <= (SELECT max(last_day) FROM closings WHERE workspace = NEW.workspace) OR EXISTS (SELECT 1 FROM attempts a WHERE (a.id = NEW.id OR (a.workspace = NEW.workspace AND a.live_key = NEW.live_key)) AND a.day <= (SELECT max(last_day) FROM closings WHERE workspace = a.workspace)) BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER attempts_closed_delete BEFORE DELETE ON attempts WHEN OLD.day <= (SELECT max(last_day) FROM closings WHERE workspace = OLD.workspace) BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER attempts_closed_move BEFORE UPDATE OF id, workspace, day ON attempts WHEN NEW.day <= (SELECT max(last_day) FROM closings WHERE workspace = NEW.workspace) OR EXISTS (SELECT 1 FROM attempts a WHERE (a.id = NEW.id OR (a.workspace = NEW.workspace AND a.live_key = NEW.live_key)) AND a.day <= (SELECT max(last_day) FROM closings WHERE workspace = a.workspace) AND a.id <> OLD.id) BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER attempts_closed_replace BEFORE UPDATE OF live_key ON attempts WHEN NEW.live_key IS NOT NULL AND EXISTS (SELECT 1 FROM attempts a WHERE (a.id = NEW.id OR (a.workspace = NEW.workspace AND a.live_key = NEW.live_key)) AND a.day <= (SELECT max(last_day) FROM closings WHERE workspace = a.workspace) AND a.id <> OLD.id) BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER attempts_closed_update BEFORE UPDATE ON attempts WHEN OLD.day <= (SELECT max(last_day) FROM closings WHERE workspace = OLD.workspace) BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction') WHERE NOT (NEW.id IS OLD.id AND NEW.run_id IS OLD.run_id AND NEW.workspace IS OLD.workspace AND NEW.recipe IS OLD.recipe AND NEW.model IS OLD.model AND NEW.item_key IS OLD.item_key AND NEW.source_path IS OLD.source_path AND NEW.source_digest IS OLD.source_digest AND NEW.source_bytes IS OLD.source_bytes AND NEW.prompt_name IS OLD.prompt_name AND NEW.preset_name IS OLD.preset_name AND NEW.options IS OLD.options AND NEW.output_path IS OLD.output_path AND NEW.reserved_micros IS OLD.reserved_micros AND NEW.day IS OLD.day AND NEW.reserved_at IS OLD.reserved_at AND NEW.sent_at IS OLD.sent_at AND ((NEW.state IS OLD.state AND NEW.live_key IS OLD.live_key AND NEW.billed_micros IS OLD.billed_micros AND NEW.billed_text IS OLD.billed_text AND NEW.breach IS OLD.breach AND NEW.code IS OLD.code AND NEW.status IS OLD.status AND NEW.request_id IS OLD.request_id AND NEW.result_digest IS OLD.result_digest AND NEW.result_bytes IS OLD.result_bytes AND NEW.result_width IS OLD.result_width AND NEW.result_height IS OLD.result_height AND NEW.remark IS OLD.remark AND NEW.ended_at IS OLD.ended_at AND (NEW.message IS OLD.message OR NEW.message IS NULL) AND (NEW.headers IS OLD.headers OR NEW.headers IS NULL) AND (NEW.body_head IS OLD.body_head OR NEW.body_head IS NULL) AND (NEW.prompt_digest IS OLD.prompt_digest OR (NEW.prompt_digest = 'purged' AND OLD.prompt_digest IS NOT NULL)) AND (NEW.negative_digest IS OLD.negative_digest OR (NEW.negative_digest = 'purged' AND OLD.negative_digest IS NOT NULL))) OR (NEW.prompt_digest IS OLD.prompt_digest AND NEW.negative_digest IS OLD.negative_digest AND EXISTS (SELECT 1 FROM corrections c WHERE c.attempt_id = OLD.id AND c.before_state = OLD.state AND c.state = NEW.state AND c.billed_micros IS NEW.billed_micros AND c.code IS NEW.code)))); END;

CREATE TRIGGER runs_closed_update BEFORE UPDATE OF id, uid, workspace, recipe, recipe_path, recipe_digest, git_commit, git_dirty, slot, cost_centre, labels, who, program, started_at, author, approver, approval ON runs WHEN EXISTS (SELECT 1 FROM attempts a WHERE a.run_id = OLD.id AND a.day <= (SELECT max(last_day) FROM closings WHERE workspace = OLD.workspace)) BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER runs_closed_end BEFORE UPDATE OF ended_at, outcome ON runs WHEN OLD.ended_at IS NOT NULL AND EXISTS (SELECT 1 FROM attempts a WHERE a.run_id = OLD.id AND a.day <= (SELECT max(last_day) FROM closings WHERE workspace = OLD.workspace)) BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER runs_closed_delete BEFORE DELETE ON runs WHEN EXISTS (SELECT 1 FROM attempts a WHERE a.run_id = OLD.id AND a.day <= (SELECT max(last_day) FROM closings WHERE workspace = OLD.workspace)) BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER runs_closed_insert BEFORE INSERT ON runs WHEN EXISTS (SELECT 1 FROM runs r WHERE (r.id = NEW.id OR r.uid = NEW.uid) AND EXISTS (SELECT 1 FROM attempts a WHERE a.run_id = r.id AND a.day <= (SELECT max(last_day) FROM closings WHERE workspace = r.workspace))) BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER workspaces_closed_update BEFORE UPDATE ON workspaces WHEN (SELECT max(last_day) FROM closings WHERE workspace = OLD.name) IS NOT NULL BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER workspaces_closed_delete BEFORE DELETE ON workspaces WHEN (SELECT max(last_day) FROM closings WHERE workspace = OLD.name) IS NOT NULL BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER workspaces_closed_insert BEFORE INSERT ON workspaces WHEN (SELECT max(last_day) FROM closings WHERE workspace = NEW.name) IS NOT NULL BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER closings_no_update BEFORE UPDATE ON closings WHEN 1 BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER closings_no_delete BEFORE DELETE ON closings WHEN 1 BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER corrections_no_update BEFORE UPDATE ON corrections WHEN 1 BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER corrections_no_delete BEFORE DELETE ON corrections WHEN 1 BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER closings_in_order BEFORE INSERT ON closings WHEN NEW.first_day <= (SELECT max(last_day) FROM closings WHERE workspace = NEW.workspace) BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TRIGGER corrections_in_open BEFORE INSERT ON corrections WHEN EXISTS (SELECT 1 FROM corrections c WHERE c.attempt_id = NEW.attempt_id AND c.number >= NEW.number) OR NOT EXISTS (SELECT 1 FROM attempts a WHERE a.id = NEW.attempt_id AND a.workspace = NEW.workspace AND a.state = NEW.before_state AND a.day <= (SELECT max(last_day) FROM closings WHERE workspace = NEW.workspace) AND NEW.day > (SELECT max(last_day) FROM closings WHERE workspace = NEW.workspace)) BEGIN SELECT RAISE(ABORT, 'closed: in a closed window nothing changes any more; what comes later is a correction'); END;

CREATE TABLE totals (
	day TEXT NOT NULL, 
	workspace TEXT NOT NULL, 
	recipe TEXT NOT NULL, 
	model TEXT NOT NULL, 
	preset_name TEXT NOT NULL, 
	prompt_name TEXT NOT NULL, 
	run_facts TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	settled_count INTEGER NOT NULL, 
	released_count INTEGER NOT NULL, 
	open_count INTEGER NOT NULL, 
	unknown_count INTEGER NOT NULL, 
	unusable_count INTEGER NOT NULL, 
	again_count INTEGER NOT NULL, 
	reconciled_count INTEGER NOT NULL, 
	settled_micros INTEGER NOT NULL, 
	open_micros INTEGER NOT NULL, 
	unknown_micros INTEGER NOT NULL, 
	unusable_micros INTEGER NOT NULL, 
	again_micros INTEGER NOT NULL, 
	reconciled_micros INTEGER NOT NULL, 
	correction_count INTEGER NOT NULL, 
	CONSTRAINT pk_totals PRIMARY KEY (day, workspace, recipe, model, preset_name, prompt_name, run_facts)
)
 WITHOUT ROWID

;

CREATE VIEW counted AS
SELECT attempt_id, day, workspace, recipe, model, preset_name, prompt_name, run_facts,
  NOT corrects AS attempts,
  is_settled AS settled_count,
  is_released AS released_count,
  is_open - corrects AS open_count,
  is_unknown - was_unknown AS unknown_count,
  is_settled AND NOT has_picture AS unusable_count,
  is_settled AND has_picture AND is_again AS again_count,
  is_settled AND is_reconciled AS reconciled_count,
  is_settled * micros AS settled_micros,
  (is_open - corrects) * reserved_micros AS open_micros,
  (is_unknown - was_unknown) * reserved_micros AS unknown_micros,
  (is_settled AND NOT has_picture) * micros AS unusable_micros,
  (is_settled AND has_picture AND is_again) * micros AS again_micros,
  (is_settled AND is_reconciled) * micros AS reconciled_micros,
  corrects AS correction_count
FROM (
  SELECT a.id AS attempt_id, a.day, a.workspace, a.recipe, a.model, a.preset_name, a.prompt_name,
    json_array(r.cost_centre, r.git_commit, r.git_dirty, r.labels, r.who, r.author, r.approver) AS run_facts,
    0 AS corrects,
    0 AS was_unknown,
    ifnull(c.before_state, a.state) = 'settled' AS is_settled,
    ifnull(c.before_state, a.state) = 'released' AS is_released,
    ifnull(c.before_state, a.state) IN ('reserved', 'sent', 'unknown') AS is_open,
    ifnull(c.before_state, a.state) = 'unknown' AS is_unknown,
    ifnull(a.billed_micros, 0) AS micros,
    a.reserved_micros,
    a.result_digest IS NOT NULL AS has_picture,
    EXISTS (SELECT 1 FROM attempts e WHERE e.workspace = a.workspace AND e.item_key = a.item_key AND e.state = 'settled' AND e.id < a.id AND e.result_digest IS NOT NULL) AS is_again,
    EXISTS (SELECT 1 FROM reconciled p WHERE p.attempt_id = a.id AND p.verdict IN ('matched', 'billed', 'not-billed') AND NOT EXISTS (SELECT 1 FROM closings k WHERE k.workspace = a.workspace AND a.day BETWEEN k.first_day AND k.last_day AND k.entry_id < p.entry_id)) AS is_reconciled
  FROM attempts a JOIN runs r ON r.id = a.run_id LEFT JOIN corrections c ON c.attempt_id = a.id AND c.number = 1
  UNION ALL
  SELECT a.id, c.day, a.workspace, a.recipe, a.model, a.preset_name, a.prompt_name,
    json_array(r.cost_centre, r.git_commit, r.git_dirty, r.labels, r.who, r.author, r.approver),
    1,
    c.before_state = 'unknown',
    c.state = 'settled',
    c.state = 'released',
    c.state IN ('reserved', 'sent', 'unknown'),
    c.state = 'unknown',
    ifnull(c.billed_micros, 0),
    a.reserved_micros,
    a.result_digest IS NOT NULL,
    EXISTS (SELECT 1 FROM attempts e WHERE e.workspace = a.workspace AND e.item_key = a.item_key AND e.state = 'settled' AND e.id < a.id AND e.result_digest IS NOT NULL),
    EXISTS (SELECT 1 FROM reconciled p WHERE p.attempt_id = a.id AND p.verdict IN ('matched', 'billed', 'not-billed') AND NOT EXISTS (SELECT 1 FROM closings k WHERE k.workspace = a.workspace AND c.day BETWEEN k.first_day AND k.last_day AND k.entry_id < p.entry_id))
  FROM corrections c CROSS JOIN attempts a ON a.id = c.attempt_id CROSS JOIN runs r ON r.id = a.run_id
);

CREATE TRIGGER totals_reconciled_added AFTER INSERT ON reconciled WHEN NEW.attempt_id IS NOT NULL BEGIN INSERT INTO totals (day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count) SELECT day, workspace, recipe, model, preset_name, prompt_name, run_facts, 0, 0, 0, 0, 0, 0, 0, reconciled_count, 0, 0, 0, 0, 0, reconciled_micros, 0 FROM counted WHERE attempt_id = NEW.attempt_id ON CONFLICT DO UPDATE SET reconciled_count = reconciled_count + excluded.reconciled_count, reconciled_micros = reconciled_micros + excluded.reconciled_micros; END;

CREATE TRIGGER totals_reconciled_out BEFORE UPDATE ON reconciled WHEN NEW.attempt_id IS NOT NULL BEGIN INSERT INTO totals (day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count) SELECT day, workspace, recipe, model, preset_name, prompt_name, run_facts, -attempts, -settled_count, -released_count, -open_count, -unknown_count, -unusable_count, -again_count, -reconciled_count, -settled_micros, -open_micros, -unknown_micros, -unusable_micros, -again_micros, -reconciled_micros, -correction_count FROM counted WHERE attempt_id = NEW.attempt_id ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts, settled_count = settled_count + excluded.settled_count, released_count = released_count + excluded.released_count, open_count = open_count + excluded.open_count, unknown_count = unknown_count + excluded.unknown_count, unusable_count = unusable_count + excluded.unusable_count, again_count = again_count + excluded.again_count, reconciled_count = reconciled_count + excluded.reconciled_count, settled_micros = settled_micros + excluded.settled_micros, open_micros = open_micros + excluded.open_micros, unknown_micros = unknown_micros + excluded.unknown_micros, unusable_micros = unusable_micros + excluded.unusable_micros, again_micros = again_micros + excluded.again_micros, reconciled_micros = reconciled_micros + excluded.reconciled_micros, correction_count = correction_count + excluded.correction_count; END;

CREATE TRIGGER totals_reconciled_in AFTER UPDATE ON reconciled WHEN NEW.attempt_id IS NOT NULL BEGIN INSERT INTO totals (day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count) SELECT day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count FROM counted WHERE attempt_id = NEW.attempt_id ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts, settled_count = settled_count + excluded.settled_count, released_count = released_count + excluded.released_count, open_count = open_count + excluded.open_count, unknown_count = unknown_count + excluded.unknown_count, unusable_count = unusable_count + excluded.unusable_count, again_count = again_count + excluded.again_count, reconciled_count = reconciled_count + excluded.reconciled_count, settled_micros = settled_micros + excluded.settled_micros, open_micros = open_micros + excluded.open_micros, unknown_micros = unknown_micros + excluded.unknown_micros, unusable_micros = unusable_micros + excluded.unusable_micros, again_micros = again_micros + excluded.again_micros, reconciled_micros = reconciled_micros + excluded.reconciled_micros, correction_count = correction_count + excluded.correction_count; END;

CREATE TRIGGER totals_added AFTER INSERT ON attempts BEGIN INSERT INTO totals (day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count) SELECT day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count FROM counted WHERE attempt_id = NEW.id ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts, settled_count = settled_count + excluded.settled_count, released_count = released_count + excluded.released_count, open_count = open_count + excluded.open_count, unknown_count = unknown_count + excluded.unknown_count, unusable_count = unusable_count + excluded.unusable_count, again_count = again_count + excluded.again_count, reconciled_count = reconciled_count + excluded.reconciled_count, settled_micros = settled_micros + excluded.settled_micros, open_micros = open_micros + excluded.open_micros, unknown_micros = unknown_micros + excluded.unknown_micros, unusable_micros = unusable_micros + excluded.unusable_micros, again_micros = again_micros + excluded.again_micros, reconciled_micros = reconciled_micros + excluded.reconciled_micros, correction_count = correction_count + excluded.correction_count; END;

CREATE TRIGGER totals_out BEFORE UPDATE OF state, billed_micros, reserved_micros, result_digest ON attempts WHEN (OLD.state, NEW.state) <> ('reserved', 'sent') BEGIN INSERT INTO totals (day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count) SELECT day, workspace, recipe, model, preset_name, prompt_name, run_facts, -attempts, -settled_count, -released_count, -open_count, -unknown_count, -unusable_count, -again_count, -reconciled_count, -settled_micros, -open_micros, -unknown_micros, -unusable_micros, -again_micros, -reconciled_micros, -correction_count FROM counted WHERE attempt_id = NEW.id ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts, settled_count = settled_count + excluded.settled_count, released_count = released_count + excluded.released_count, open_count = open_count + excluded.open_count, unknown_count = unknown_count + excluded.unknown_count, unusable_count = unusable_count + excluded.unusable_count, again_count = again_count + excluded.again_count, reconciled_count = reconciled_count + excluded.reconciled_count, settled_micros = settled_micros + excluded.settled_micros, open_micros = open_micros + excluded.open_micros, unknown_micros = unknown_micros + excluded.unknown_micros, unusable_micros = unusable_micros + excluded.unusable_micros, again_micros = again_micros + excluded.again_micros, reconciled_micros = reconciled_micros + excluded.reconciled_micros, correction_count = correction_count + excluded.correction_count; END;

CREATE TRIGGER totals_in AFTER UPDATE OF state, billed_micros, reserved_micros, result_digest ON attempts WHEN (OLD.state, NEW.state) <> ('reserved', 'sent') BEGIN INSERT INTO totals (day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count) SELECT day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count FROM counted WHERE attempt_id = NEW.id ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts, settled_count = settled_count + excluded.settled_count, released_count = released_count + excluded.released_count, open_count = open_count + excluded.open_count, unknown_count = unknown_count + excluded.unknown_count, unusable_count = unusable_count + excluded.unusable_count, again_count = again_count + excluded.again_count, reconciled_count = reconciled_count + excluded.reconciled_count, settled_micros = settled_micros + excluded.settled_micros, open_micros = open_micros + excluded.open_micros, unknown_micros = unknown_micros + excluded.unknown_micros, unusable_micros = unusable_micros + excluded.unusable_micros, again_micros = again_micros + excluded.again_micros, reconciled_micros = reconciled_micros + excluded.reconciled_micros, correction_count = correction_count + excluded.correction_count; END;

CREATE TRIGGER totals_correction_out BEFORE INSERT ON corrections BEGIN INSERT INTO totals (day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count) SELECT day, workspace, recipe, model, preset_name, prompt_name, run_facts, -attempts, -settled_count, -released_count, -open_count, -unknown_count, -unusable_count, -again_count, -reconciled_count, -settled_micros, -open_micros, -unknown_micros, -unusable_micros, -again_micros, -reconciled_micros, -correction_count FROM counted WHERE attempt_id = NEW.attempt_id ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts, settled_count = settled_count + excluded.settled_count, released_count = released_count + excluded.released_count, open_count = open_count + excluded.open_count, unknown_count = unknown_count + excluded.unknown_count, unusable_count = unusable_count + excluded.unusable_count, again_count = again_count + excluded.again_count, reconciled_count = reconciled_count + excluded.reconciled_count, settled_micros = settled_micros + excluded.settled_micros, open_micros = open_micros + excluded.open_micros, unknown_micros = unknown_micros + excluded.unknown_micros, unusable_micros = unusable_micros + excluded.unusable_micros, again_micros = again_micros + excluded.again_micros, reconciled_micros = reconciled_micros + excluded.reconciled_micros, correction_count = correction_count + excluded.correction_count; END;

CREATE TRIGGER totals_correction_in AFTER INSERT ON corrections BEGIN INSERT INTO totals (day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count) SELECT day, workspace, recipe, model, preset_name, prompt_name, run_facts, attempts, settled_count, released_count, open_count, unknown_count, unusable_count, again_count, reconciled_count, settled_micros, open_micros, unknown_micros, unusable_micros, again_micros, reconciled_micros, correction_count FROM counted WHERE attempt_id = NEW.attempt_id ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts, settled_count = settled_count + excluded.settled_count, released_count = released_count + excluded.released_count, open_count = open_count + excluded.open_count, unknown_count = unknown_count + excluded.unknown_count, unusable_count = unusable_count + excluded.unusable_count, again_count = again_count + excluded.again_count, reconciled_count = reconciled_count + excluded.reconciled_count, settled_micros = settled_micros + excluded.settled_micros, open_micros = open_micros + excluded.open_micros, unknown_micros = unknown_micros + excluded.unknown_micros, unusable_micros = unusable_micros + excluded.unusable_micros, again_micros = again_micros + excluded.again_micros, reconciled_micros = reconciled_micros + excluded.reconciled_micros, correction_count = correction_count + excluded.correction_count; END;
