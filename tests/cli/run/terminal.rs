//! Job control, on terminals made for the tests, with a shell that a person would use.

use super::*;

const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/run/terminal.py");
/// Says so without showing it in the command line, and then reads lines.
const READER: &str = r#"sh -c 'printf "rea%s\n" dy; while read l; do echo "got:$l"; done; exit 7'"#;
const SLEEPER: &str = r#"sh -c 'printf "rea%s\n" dy; exec sleep 60'"#;
/// Asks the shell for the exit code.
const CODE: &str = r"send echo code=$?\n";
/// What is typed ahead of it may be lost with a signal.
const PROMPT: &str = r"expect \$ ";
const RESUMED: &str = r"expect fg\s+\S*(holdfast|bash)";
/// Waits until the job has been stopped, and tells so.
const STOPPED_JOB: &str =
    r"send while ! jobs -s | grep -q holdfast; do sleep 0.05; done; echo stopp$((1))ed\n";

impl Server {
    fn terminal(&self, steps: &[&str]) {
        let bin = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut driver = Command::new("python3");
        driver
            .arg(DRIVER)
            .args(steps)
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("HOLDFAST_ADDR", self.addr.to_string());
        let output = driver.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

#[test]
fn a_command_on_a_terminal_reads_from_it_and_the_shell_has_it_back_afterwards() {
    let server = Server::start();
    server.terminal(&[
        &format!(r"send holdfast run x -- {READER}\n"),
        "expect ready",
        r"send one\n",
        "expect got:one",
        r"send \x04",
        CODE,
        "expect code=7",
    ]);
}

#[test]
fn ctrl_c_ends_the_command() {
    let server = Server::start();
    server.terminal(&[
        &format!(r"send holdfast run x -- {SLEEPER}\n"),
        "expect ready",
        r"send \x03",
        PROMPT,
        CODE,
        "expect code=130",
    ]);
    assert_eq!(server.json(&["lock", "get", "x"])["state"], "FREE");
}

#[test]
fn ctrl_c_ends_the_waiting() {
    let server = Server::start();
    server.json(&["lock", "acquire", "x", "--owner", "alice"]);
    server.terminal(&[
        r"send holdfast run x -- true\n",
        "expect number 1 in line, held by alice for ",
        r"send \x03",
        PROMPT,
        CODE,
        "expect code=130",
    ]);
    assert_eq!(server.json(&["lock", "get", "x"])["waiters"], 0);
}

#[test]
fn the_line_about_waiting_is_written_over() {
    let server = Server::start();
    server.json(&["lock", "acquire", "x", "--owner", "alice"]);
    server.terminal(&[
        r"send holdfast run x -- true\n",
        r"expect \r\x1b\[Kwaiting for x: number 1 in line, held by alice for (\d+)s",
        r"expect \r\x1b\[Kwaiting for x: number 1 in line, held by alice for (\d+)s",
        r"send \x03",
        r"expect \r\x1b\[K[^w]",
        CODE,
        "expect code=130",
    ]);
}

#[test]
fn ctrl_z_stops_the_command_and_fg_lets_it_go_on_with_the_terminal() {
    let server = Server::start();
    server.terminal(&[
        &format!(r"send holdfast run x -- {READER}\n"),
        "expect ready",
        r"send \x1a",
        "expect Stopped.*holdfast run x",
        PROMPT,
        r"send echo mine=$((1+1))\n",
        "expect mine=2",
        PROMPT,
        r"send fg\n",
        RESUMED,
        r"send one\n",
        "expect got:one",
        // Once more, as what happens the first time may be special.
        r"send \x1a",
        "expect Stopped",
        PROMPT,
        r"send fg\n",
        RESUMED,
        r"send two\n",
        "expect got:two",
        r"send \x04",
        CODE,
        "expect code=7",
    ]);
}

#[test]
fn a_job_goes_on_in_the_background_and_gets_the_terminal_in_the_foreground_again() {
    let server = Server::start();
    server.terminal(&[
        &format!(r"send holdfast run x -- {READER}\n"),
        "expect ready",
        r"send \x1a",
        "expect Stopped",
        // It reads, which stops it.
        r"send bg\n",
        r"expect \[1\]\+ holdfast",
        PROMPT,
        STOPPED_JOB,
        "expect stopp1ed",
        PROMPT,
        r"send fg\n",
        RESUMED,
        r"send one\n",
        "expect got:one",
        r"send \x03",
        PROMPT,
        CODE,
        "expect code=130",
    ]);
}

#[test]
fn a_job_that_was_begun_in_the_background_gets_the_terminal_with_fg() {
    let server = Server::start();
    server.terminal(&[
        &format!(r"send holdfast run x -- {READER} &\n"),
        "expect ready",
        STOPPED_JOB,
        "expect stopp1ed",
        PROMPT,
        r"send fg\n",
        RESUMED,
        r"send one\n",
        "expect got:one",
        r"send \x1a",
        "expect Stopped",
        PROMPT,
        r"send fg\n",
        RESUMED,
        r"send \x04",
        CODE,
        "expect code=7",
    ]);
}

#[test]
fn a_pipeline_is_one_job() {
    let server = Server::start();
    let run = format!(r"send holdfast run x -- {SLEEPER} | cat\n");
    server.terminal(&[
        &run,
        "expect ready",
        r"send \x1a",
        "expect Stopped",
        PROMPT,
        r"send fg\n",
        // A key before that would be the shell's.
        "reach cat",
        r"send \x03",
        PROMPT,
        r"send echo codes=${PIPESTATUS[0]}\n",
        "expect codes=130",
    ]);
}

#[test]
fn a_pipeline_may_ask_for_the_terminal() {
    let server = Server::start();
    let script = r#"sh -c 'read a; printf "rea%s\n" dy; read b </dev/tty; echo "got:$a$b"'"#;
    server.terminal(&[
        &format!(r"send echo one | holdfast run x -- {script} | cat\n"),
        "expect ready",
        r"send two\n",
        "expect got:onetwo",
        CODE,
        "expect code=0",
    ]);
}

#[test]
fn a_script_that_runs_it_is_stopped_with_it() {
    let server = Server::start();
    server.terminal(&[
        &format!(
            r#"send bash -c "holdfast run x -- {}; echo after=\$?"\n"#,
            SLEEPER.replace('"', r#"\\""#)
        ),
        "expect ready",
        r"send \x1a",
        "expect Stopped",
        PROMPT,
        r"send fg\n",
        // A key before that would end the script as well.
        "reach sleep",
        r"send \x1c",
        "expect after=131",
    ]);
}

#[test]
fn a_stopped_job_that_lost_its_lock_does_not_go_on() {
    let server = Server::start();
    let place = Place::new();
    let went_on = place.text("went-on");
    let script = format!(r#"sh -c 'printf "rea%s\n" dy; read line; echo > {went_on}'"#);
    server.terminal(&[
        &format!(r"send holdfast run x --ttl 500ms --grace 0s -- {script}\n"),
        "expect ready",
        r"send \x1a",
        "expect Stopped",
        PROMPT,
        // Somebody else has it by now.
        r"send holdfast run x -- sh -c 'echo other=$((1+1))'\n",
        "expect other=2",
        PROMPT,
        r"send fg\n",
        r"expect the lock x was lost \(expired\)",
        CODE,
        "expect code=76",
    ]);
    assert!(!place.path("went-on").exists());
}

#[test]
fn a_terminal_that_a_killed_command_left_in_disorder_is_set_right() {
    let server = Server::start();
    server.terminal(&[
        r"send holdfast run x -- sh -c 'stty -icanon -echo; kill -KILL $$'; stty -a\n",
        r"expect [^-]icanon",
        r"expect [^-]echo[ ;]",
        CODE,
        "expect code=0",
    ]);
}
