//! docs/ci.md, run: the shell of each example, as its CI system would run it, under a lock that nobody
//! else has meanwhile.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::readme::blocks;
use crate::server::{Server, clear_environment, holdfast, run};

/// Stands for the work: notes how many hold a lock while it runs.
const DEPLOY: &str = r#"#!/bin/sh
for lock in deploy nightly; do
  curl -sf -u "$HOLDFAST_TOKEN:" "$HOLDFAST_ADDR/api/v1/locks/$lock" | jq -r '"\(.name) \(.holder_count)"'
done | grep 1 | tee -a log
"#;
/// What a crontab line begins with.
const SCHEDULE: &str = "0 3 * * * ";

/// The shell of a block, and what runs it.
fn script(language: &str, text: &str) -> (&'static [&'static str], String) {
    match language {
        "sh" => (&["bash", "-c"], text.to_owned()),
        "cron" => (
            &["sh", "-c"],
            text.strip_prefix(SCHEDULE).unwrap().to_owned(),
        ),
        "yaml" => (
            &["bash", "-e", "-c"],
            after(text, ": |\n").or(after(text, "- |\n")).unwrap(),
        ),
        "groovy" => {
            let script = text.split("'''").nth(1).unwrap();
            (&["sh", "-e", "-c"], script.replace(r"\\", r"\"))
        }
        other => panic!("what is a block of {other:?}?"),
    }
}

/// The rest of a text, without its indentation.
fn after(text: &str, mark: &str) -> Option<String> {
    let (_, rest) = text.split_once(mark)?;
    Some(
        rest.lines()
            .map(|line| line.trim_start().to_owned() + "\n")
            .collect(),
    )
}

#[test]
fn the_shell_of_every_example_for_ci_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let markdown = std::fs::read_to_string(root.join("docs/ci.md")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let mut create = holdfast(&["token", "create", "--namespace", "default", "--data-dir"]);
    create.arg(&data);
    let token = String::from_utf8(run(create).stdout).unwrap();
    let server = Server::over(&data);

    let deploy = home.path().join("deploy.sh");
    std::fs::write(&deploy, DEPLOY).unwrap();
    std::fs::set_permissions(&deploy, std::fs::Permissions::from_mode(0o755)).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut ran = 0;
    for block in blocks(&markdown) {
        let (shell, script) = script(&block.language, &block.text);
        let mut command = Command::new(shell[0]);
        clear_environment(&mut command);
        command
            .args(&shell[1..])
            .arg(&script)
            .current_dir(home.path())
            .env("PATH", &path)
            .env("HOLDFAST_ADDR", server.host())
            .env("HOLDFAST_TOKEN", token.trim())
            .env("GITHUB_REPOSITORY", "me/it")
            .env("GITHUB_RUN_ID", "7")
            .env("CI_JOB_URL", "https://ci.example/7")
            .env("BUILD_URL", "https://ci.example/7");
        let output = run(command);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "line {}: {told}", block.line);
        let log = std::fs::read_to_string(home.path().join("log"));
        let lock = if script.contains("nightly") {
            "nightly"
        } else {
            "deploy"
        };
        assert_eq!(
            log.unwrap(),
            format!("{lock} 1\n"),
            "line {}: {told}",
            block.line
        );
        std::fs::remove_file(home.path().join("log")).unwrap();
        ran += 1;
    }
    assert!(ran >= 10, "only {ran} examples");
}
