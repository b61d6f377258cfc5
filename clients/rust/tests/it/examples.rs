//! README.md: its programs are the examples, and the examples run.

use std::path::Path;
use std::process::Command;

use crate::server::Server;

const EXAMPLES: [&str; 3] = ["first", "grants", "lines"];

/// The programs in the README, in their order.
fn programs(readme: &str) -> Vec<&str> {
    readme
        .split("```rust\n")
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0)
        .collect()
}

#[test]
fn the_programs_in_the_readme_are_the_examples() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(here.join("README.md")).unwrap();
    let examples = EXAMPLES.map(|name| {
        std::fs::read_to_string(here.join("examples").join(name).with_extension("rs")).unwrap()
    });
    assert_eq!(programs(&readme), examples.each_ref().map(String::as_str));
}

#[test]
fn the_examples_run_against_a_server() {
    let server = Server::start();
    // Beside the directory of this test's own binary: `cargo test` builds examples too.
    let own = std::env::current_exe().unwrap();
    let examples = own.parent().unwrap().parent().unwrap().join("examples");
    let run = |name: &str| {
        let mut example = Command::new(examples.join(name));
        let done = example.arg(server.address()).output().unwrap();
        assert!(done.status.success(), "{name}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let [first, grants, lines] = EXAMPLES.map(run);
    assert_eq!(first, "deploying, fencing token 1\ndeployed\n");
    assert_eq!(grants, "writing with 2\nwritten\nleading\n2 given back\n");
    assert_eq!(
        lines,
        "building\nbuilding again\npopped 6 bytes\nconsumed to bob\ncount 1\n"
    );
}
