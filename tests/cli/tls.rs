//! The command line over TLS: whom it believes, who it is, and what it says when that fails.

use std::process::Output;

use tempfile::TempDir;

use super::{Server, command, stderr, stdout};
use crate::certificates::{Ca, Pair, put};

struct Place {
    ca: Ca,
    dir: TempDir,
    server: Server,
}

impl Place {
    /// A server that shows `pair`, and asks for certificates of `client_ca`.
    fn new(ca: Ca, pair: &Pair, client_ca: Option<&Ca>) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| put(dir.path(), name, text).display().to_string();
        let mut args = vec![
            "--store=memory".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
            format!("--tls-cert={}", file("cert.pem", &pair.cert)),
            format!("--tls-key={}", file("key.pem", &pair.key)),
        ];
        args.extend(
            client_ca.map(|ca| format!("--tls-client-ca={}", file("clients.pem", &ca.pem()))),
        );
        file("ca.pem", &ca.pem());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let server = Server::start_with(&args);
        Place { ca, dir, server }
    }

    fn good() -> Place {
        let ca = Ca::new("ours");
        let pair = ca.issue("localhost");
        Place::new(ca, &pair, None)
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn addr(&self) -> String {
        format!("https://localhost:{}", self.server.addr.port())
    }

    /// Asks after a lock, with more flags.
    fn ask(&self, flags: &[&str]) -> Output {
        let mut asked = command(&["lock", "get", "deploy"]);
        asked.env("HOLDFAST_ADDR", self.addr());
        asked.args(flags).output().unwrap()
    }

    fn refused(&self, flags: &[&str], exit: i32, told: &str) {
        let output = self.ask(flags);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(exit), "{error}");
        assert!(error.contains(told), "{told}: {error}");
    }

    fn put(&self, name: &str, text: &str) -> String {
        put(self.dir.path(), name, text).display().to_string()
    }
}

#[test]
fn a_server_that_the_given_ca_vouches_for_is_talked_to() {
    let place = Place::good();
    let got = place.ask(&["--ca", &place.file("ca.pem")]);
    assert!(got.status.success(), "{}", stderr(&got));
    let mut put = command(&["value", "put", "color", "blue"]);
    put.env("HOLDFAST_ADDR", place.addr())
        .env("HOLDFAST_CA", place.file("ca.pem"));
    let put = put.output().unwrap();
    assert!(put.status.success(), "{}", stderr(&put));
}

#[test]
fn the_roots_of_the_system_are_those_that_it_says() {
    let place = Place::good();
    let mut asked = command(&["lock", "get", "deploy", "--addr", &place.addr()]);
    // The variable by which a system says where its roots are.
    let got = asked
        .env("SSL_CERT_FILE", place.file("ca.pem"))
        .output()
        .unwrap();
    assert!(got.status.success(), "{}", stderr(&got));
    assert!(stdout(&got).contains("deploy"), "{}", stdout(&got));
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_talked_to() {
    let place = Place::good();
    place.refused(&[], 69, "its certificate is not trusted");
    let other = place.put("other.pem", &Ca::new("theirs").pem());
    place.refused(&["--ca", &other], 69, "its certificate is not trusted");
}

#[test]
fn a_certificate_of_another_name_or_another_time_is_named_as_such() {
    let ca = Ca::new("ours");
    let pair = ca.issue("elsewhere.example");
    let place = Place::new(ca, &pair, None);
    let told = "its certificate is not for localhost but for";
    place.refused(&["--ca", &place.file("ca.pem")], 69, told);

    let ca = Ca::new("ours");
    let pair = ca.issue_expired("localhost");
    let place = Place::new(ca, &pair, None);
    place.refused(
        &["--ca", &place.file("ca.pem")],
        69,
        "its certificate has expired",
    );
}

#[test]
fn with_mutual_tls_it_shows_its_certificate() {
    let (ours, clients) = (Ca::new("ours"), Ca::new("clients"));
    let pair = ours.issue("localhost");
    let place = Place::new(ours, &pair, Some(&clients));
    let ca = place.file("ca.pem");
    let me = clients.issue("me");
    let (cert, key) = (place.put("me.pem", &me.cert), place.put("me.key", &me.key));
    let got = place.ask(&["--ca", &ca, "--cert", &cert, "--key", &key]);
    assert!(got.status.success(), "{}", stderr(&got));

    let asks = "it asks for a certificate: give one with --cert and --key";
    place.refused(&["--ca", &ca], 69, asks);
    let stranger = place.ca.issue("me");
    let cert = place.put("stranger.pem", &stranger.cert);
    let key = place.put("stranger.key", &stranger.key);
    let refuses = "it does not take this client's certificate (UnknownCA)";
    place.refused(&["--ca", &ca, "--cert", &cert, "--key", &key], 69, refuses);
    let expired = clients.issue_expired("me");
    let cert = place.put("expired.pem", &expired.cert);
    let key = place.put("expired.key", &expired.key);
    let refuses = "it does not take this client's certificate (CertificateExpired)";
    place.refused(&["--ca", &ca, "--cert", &cert, "--key", &key], 69, refuses);
}

#[test]
fn files_that_can_not_be_used_are_named_with_their_flag() {
    let place = Place::good();
    let cert = place.file("cert.pem");
    place.refused(&["--ca", "no.pem"], 64, "ca: no.pem can't be read");
    let empty = place.put("empty.pem", "");
    place.refused(&["--ca", &empty], 64, "must have a certificate in PEM");
    place.refused(&["--cert", &cert], 64, "key: must be given with --cert");
    place.refused(&["--key", &cert], 64, "cert: must be given with --key");
    let other = place.put("other.key", &place.ca.issue("x").key);
    let told = "cert.pem, but is that of another";
    place.refused(&["--cert", &cert, "--key", &other], 64, told);
}

#[test]
fn tls_on_one_side_only_is_told() {
    let place = Place::good();
    let plain = format!("http://{}", place.server.addr);
    let ca = place.file("ca.pem");
    place.refused(
        &["--addr", &plain, "--ca", &ca],
        64,
        "ca: is of use only with",
    );
    let server = Server::start();
    let encrypted = format!("https://{}", server.addr);
    let mut asked = command(&["lock", "get", "x", "--addr", &encrypted, "--ca", &ca]);
    let got = asked.output().unwrap();
    assert_eq!(got.status.code(), Some(69), "{}", stderr(&got));
    assert!(
        stderr(&got).contains("it does not speak TLS"),
        "{}",
        stderr(&got)
    );
    let mut asked = command(&["lock", "get", "x", "--addr", &plain]);
    let got = asked.output().unwrap();
    assert_eq!(got.status.code(), Some(69), "{}", stderr(&got));
}

#[test]
fn a_server_with_one_of_the_two_files_does_not_start() {
    for (flags, told) in [
        (
            &["--tls-cert=a.pem"][..],
            "tls-key: must be given with --tls-cert",
        ),
        (
            &["--tls-key=a.pem"],
            "tls-cert: must be given with --tls-key",
        ),
        (
            &["--tls-client-ca=a.pem"],
            "tls-client-ca: needs --tls-cert and --tls-key",
        ),
        (
            &["--tls-cert=a.pem", "--tls-key=b.pem"],
            "tls-cert: a.pem can't be read",
        ),
    ] {
        let mut serve = command(&["serve", "--store=memory", "--listen=127.0.0.1:0"]);
        let ended = serve.args(flags).output().unwrap();
        assert_eq!(ended.status.code(), Some(1));
        assert!(stderr(&ended).contains(told), "{}", stderr(&ended));
    }
}

#[test]
fn a_command_runs_under_a_lock_of_a_server_with_tls() {
    let place = Place::good();
    let run = |flags: &[&str]| {
        let mut run = command(&["run", "deploy"]);
        run.env("HOLDFAST_ADDR", place.addr());
        run.args(flags)
            .args(["--", "sh", "-c", "exit 5"])
            .output()
            .unwrap()
    };
    let trusted = run(&["--ca", &place.file("ca.pem")]);
    assert_eq!(trusted.status.code(), Some(5), "{}", stderr(&trusted));
    let unknown = run(&[]);
    assert_eq!(unknown.status.code(), Some(69), "{}", stderr(&unknown));
    assert!(
        stderr(&unknown).contains("certificate"),
        "{}",
        stderr(&unknown)
    );
}

#[test]
fn a_command_runs_with_the_certificate_that_a_server_asks_for() {
    let (ca, clients) = (Ca::new("ours"), Ca::new("clients"));
    let pair = ca.issue("localhost");
    let place = Place::new(ca, &pair, Some(&clients));
    let me = clients.issue("me");
    let (cert, key) = (place.put("me.pem", &me.cert), place.put("me.key", &me.key));
    let run = |flags: &[&str]| {
        let mut run = command(&[
            "run",
            "deploy",
            "--timeout",
            "2s",
            "--ca",
            &place.file("ca.pem"),
        ]);
        run.env("HOLDFAST_ADDR", place.addr());
        run.args(flags)
            .args(["--", "sh", "-c", "exit 5"])
            .output()
            .unwrap()
    };
    let known = run(&["--cert", &cert, "--key", &key]);
    assert_eq!(known.status.code(), Some(5), "{}", stderr(&known));
    assert_eq!(run(&[]).status.code(), Some(69));
}
