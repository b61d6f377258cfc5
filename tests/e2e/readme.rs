//! README.md, run: every block in order in one shell, as a newcomer would, and every output that it
//! shows compared with what came out.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::server::{Server, clear_environment, run};

/// The address in the text, for which that of the server under test stands.
const ADDRESS: &str = "127.0.0.1:4653";
/// The block that starts the server: done by the test, with the binary that is under test.
const SERVE: &str = "cargo run --release -- ";
/// The block that runs this test.
const TEST: &str = "make test\n";

/// A fenced block of a text.
pub struct Block {
    pub language: String,
    pub text: String,
    pub line: usize,
}

/// The fenced blocks, those in lists too, without their indentation.
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(Block, &str)> = None;
    for (number, line) in markdown.lines().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                let block = Block {
                    language: language.to_owned(),
                    text: String::new(),
                    line: number + 1,
                };
                open = Some((block, indent));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
            (None, Some((block, indent))) => {
                block
                    .text
                    .push_str(line.strip_prefix(*indent).unwrap_or(line));
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end");
    blocks
}

/// Whether `seen` is `shown`, where `...` stands for anything.
fn matches(shown: &str, seen: &str) -> bool {
    let mut parts = shown.trim_end().split("...");
    let Some(mut rest) = parts
        .next()
        .and_then(|first| seen.trim_end().strip_prefix(first))
    else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn an_ellipsis_stands_for_anything_and_nothing_else_does() {
    for (shown, seen, same) in [
        ("a\n", "a", true),
        ("a", "ab", false),
        ("a...", "abc\n", true),
        ("{\"a\":\"...\",\"b\":1}", "{\"a\":\"x\",\"b\":1}", true),
        ("{\"a\":\"...\",\"b\":1}", "{\"a\":\"x\",\"b\":2}", false),
        ("a...b...c", "a1b2c", true),
        ("a...b...c", "a1c", false),
        ("a...a", "a", false),
    ] {
        assert_eq!(matches(shown, seen), same, "{shown} {seen}");
    }
}

#[test]
fn every_example_of_the_readme_works_as_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let markdown = std::fs::read_to_string(root.join("README.md")).unwrap();
    let tools = root.join(".tools/node_modules/.bin");
    assert!(
        tools.join("buf").exists(),
        "buf is missing: run `make tools`"
    );
    let home = tempfile::tempdir().unwrap();

    let mut server = None;
    let mut script = "set -euo pipefail\n".to_owned();
    let mut ran = Vec::new();
    let mut shown: Vec<(usize, Block)> = Vec::new();
    let mut checked_test = false;
    for block in blocks(&markdown) {
        match block.language.as_str() {
            "sh" if block.text.starts_with(SERVE) => {
                assert!(server.is_none(), "the server is started twice");
                let args: Vec<_> = block.text[SERVE.len()..].split_whitespace().collect();
                let mut serve = crate::server::holdfast(&args);
                serve
                    .env("HOLDFAST_LISTEN", "127.0.0.1:0")
                    // As the text says where a receiver on this machine is called.
                    .env("HOLDFAST_WEBHOOK_ALLOW", "127.0.0.0/8")
                    .env("HOME", home.path())
                    .env("XDG_DATA_HOME", home.path().join("data"));
                server = Some(Server::spawn(&mut serve));
            }
            "sh" if block.text == TEST => {
                let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
                assert!(makefile.lines().any(|line| line.starts_with("test:")));
                checked_test = true;
            }
            "sh" => {
                let number = ran.len();
                // A group runs in the shell itself, so what a block sets is there for the next.
                writeln!(script, "echo {} > at", block.line).unwrap();
                writeln!(script, "{{\n{}}} > out.{number}", block.text).unwrap();
                ran.push(block.line);
            }
            "json" | "text" => {
                let number = ran
                    .len()
                    .checked_sub(1)
                    .expect("an output before any example");
                shown.push((number, block));
            }
            other => panic!("line {}: what is a block of {other:?}?", block.line),
        }
    }
    let server = server.expect("README.md starts no server");
    assert!(checked_test);
    assert!(ran.len() > 10, "only {} blocks", ran.len());

    let place = tempfile::tempdir().unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
    let path = format!(
        "{}:{}:{}",
        bin.display(),
        tools.display(),
        std::env::var("PATH").unwrap()
    );
    let mut shell = Command::new("bash");
    clear_environment(&mut shell);
    shell
        .arg("-c")
        .arg(script.replace(ADDRESS, &server.addr.to_string()))
        .current_dir(place.path())
        .env("PATH", path)
        .env("HOME", home.path())
        .env("HOLDFAST_ADDR", server.addr.to_string());
    let done = run(shell);
    let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
    assert!(
        done.status.success(),
        "the example in line {} failed: {}",
        read("at").trim(),
        String::from_utf8_lossy(&done.stderr)
    );
    let mut differing = String::new();
    for (number, block) in &shown {
        let seen = read(&format!("out.{number}"));
        if !matches(&block.text, &seen) {
            let (line, text) = (block.line, &block.text);
            writeln!(
                differing,
                "line {line} shows:\n{text}\nbut this came:\n{seen}"
            )
            .unwrap();
        }
    }
    assert!(differing.is_empty(), "README.md, {differing}");
    assert!(shown.len() > 10, "only {} outputs are shown", shown.len());
}
