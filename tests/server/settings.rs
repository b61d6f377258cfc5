//! Where a setting comes from, and what is refused before anything starts.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use holdfast::proto::v1::lock_service_client::LockServiceClient;
use holdfast::proto::v1::{AcquireLockRequest, Callback};
use holdfast::server::config::{Dialect, StoreKind};
use holdfast::server::{Config, Server, Settings, StartError};
use holdfast::webhook::AddressPolicy;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

fn flags(args: &[&str]) -> Settings {
    Flags::parse_from([&["holdfast"], args].concat()).settings
}

fn file(text: &str) -> Result<Settings, StartError> {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("holdfast.toml");
    std::fs::write(&path, text).unwrap();
    Settings::from_file(&path)
}

#[test]
fn a_flag_comes_before_the_file_and_the_file_before_the_default() {
    let file = file(
        "listen = \"file:1\"\ndata_dir = \"/file\"\ndefault_ttl = \"2m\"\ndisable_dialect = [\"getlock\"]",
    )
    .unwrap();
    let flags = flags(&[
        "--listen",
        "flag:1",
        "--disable-dialect",
        "webmutex,lockable",
    ]);
    let config = Config::resolve(flags.or(file)).unwrap();
    assert_eq!(config.listen, "flag:1");
    assert_eq!(config.data_dir, Some(PathBuf::from("/file")));
    assert_eq!(config.ttl_default, Duration::from_secs(120));
    assert_eq!(config.lockable_ttl, Duration::from_secs(60));
    assert_eq!(config.store, StoreKind::Embedded);
    let disabled = [Dialect::Webmutex, Dialect::Lockable];
    assert_eq!(config.disabled_dialects, disabled);
}

#[test]
fn a_switch_can_be_turned_off_again() {
    let on = || file("allow_anonymous = true").unwrap();
    let resolve = |args| Config::resolve(flags(args).or(on())).unwrap();
    assert!(resolve(&[]).allow_anonymous);
    assert!(resolve(&["--allow-anonymous"]).allow_anonymous);
    assert!(!resolve(&["--allow-anonymous=false"]).allow_anonymous);
}

#[test]
fn every_flag_has_a_variable() {
    use clap::CommandFactory as _;
    for argument in Flags::command()
        .get_arguments()
        .filter(|a| a.get_id() != "help")
    {
        let flag = argument.get_long().unwrap();
        let variable = format!("HOLDFAST_{}", flag.to_uppercase().replace('-', "_"));
        assert_eq!(argument.get_env().unwrap(), &*variable);
    }
}

#[test]
fn what_a_file_should_not_have_is_named_with_file_and_line() {
    for (text, named) in [
        ("listen = \"x:1\"\nlissten = \"y:1\"", ["line 2", "lissten"]),
        ("default_ttl = \"1M\"", ["line 1", "duration"]),
        (
            "[[token]]\nnamespace = \"ci\"\nsha256 = \"abc\"",
            ["line 3", "sha256"],
        ),
        (
            "[[token]]\nnamespace = \"ci\"\nsha512 = \"abc\"",
            ["line 3", "sha512"],
        ),
        ("store = \"disk\"", ["line 1", "disk"]),
        ("listen =", ["line 1", ""]),
    ] {
        let error = file(text).unwrap_err().to_string();
        assert!(error.contains("holdfast.toml"), "{error}");
        assert!(
            named.iter().all(|word| error.contains(word)),
            "{text}: {error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn bounds_are_told_with_the_flag() {
    for (args, named) in [
        (["--default-ttl", "1ms"], "default-ttl: must be 100ms to"),
        (["--webmutex-ttl", "31d"], "webmutex-ttl: must be 100ms to"),
        (
            ["--shutdown-deadline", "2h"],
            "shutdown-deadline: must be at most",
        ),
        (
            ["--max-connections", "0"],
            "max-connections: must be at least 1",
        ),
        (
            ["--webhook-allow", "127.0.0.1/8"],
            "webhook-allow: must have no bits beyond the prefix",
        ),
        (
            ["--webhook-allow", "10.0.0.0/8,localhost"],
            "webhook-allow: must be a range of addresses",
        ),
    ] {
        let error = Config::resolve(flags(&args)).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn webhooks_may_call_the_ranges_of_the_flag_or_else_of_the_file() {
    let file = || file("webhook_allow = [\"10.1.0.0/16\"]").unwrap();
    let allows = |args: &[&str], address: &str| {
        let config = Config::resolve(flags(args).or(file())).unwrap();
        config.webhook_addresses.allows(address.parse().unwrap())
    };
    assert!(allows(&[], "10.1.2.3"));
    assert!(!allows(&[], "127.0.0.1"));
    let given = [
        "--webhook-allow",
        "127.0.0.0/8, ::1",
        "--webhook-allow",
        "10.2.0.0/16",
    ];
    for allowed in ["127.0.0.1", "::1", "10.2.3.4"] {
        assert!(allows(&given, allowed), "{allowed}");
    }
    assert!(!allows(&given, "10.1.2.3"));
}

#[tokio::test]
async fn a_server_sends_webhooks_to_what_it_was_told_to_allow() {
    for (ranges, allowed) in [(&["127.0.0.0/8"][..], true), (&[], false)] {
        let config = Config {
            webhook_addresses: AddressPolicy::parse(ranges.iter().copied()).unwrap(),
            ..Config::throw_away()
        };
        let server = Server::start(config).await.unwrap();
        let address = format!("http://{}", server.local_addr());
        let mut locks = LockServiceClient::connect(address).await.unwrap();
        let request = AcquireLockRequest {
            lock: "x".to_owned(),
            callback: Some(Callback {
                url: "http://127.0.0.1:1/".to_owned(),
                ..Callback::default()
            }),
            ..AcquireLockRequest::default()
        };
        let subscribed = locks.acquire_lock(request).await;
        assert_eq!(subscribed.is_ok(), allowed, "{subscribed:?}");
    }
}

async fn refusal(config: Config) -> String {
    match Server::start(config).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn whom_nothing_would_hold_off_is_not_listened_for() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let config = Config {
            listen: listen.to_owned(),
            ..Config::throw_away()
        };
        let error = refusal(config.clone()).await;
        assert!(
            error.contains("--allow-anonymous") && error.contains("token create"),
            "{error}"
        );
        let meant = Config {
            allow_anonymous: true,
            ..config
        };
        match Server::start(meant).await {
            Ok(server) => assert!(server.is_open()),
            // There may be no IPv6 here.
            Err(error) => assert!(matches!(error, StartError::Bind { .. }), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = Server::start(Config::throw_away()).await.unwrap();
    let config = Config {
        listen: first.local_addr().to_string(),
        ..Config::throw_away()
    };
    let error = refusal(config).await;
    assert!(
        error.contains(&format!("port {}", first.local_addr().port())),
        "{error}"
    );
}

#[tokio::test]
async fn a_data_directory_in_use_is_named_and_its_port_given_back() {
    let temp = tempfile::tempdir().unwrap();
    let config = Config {
        store: StoreKind::Embedded,
        data_dir: Some(temp.path().to_owned()),
        ..Config::throw_away()
    };
    let first = Server::start(config.clone()).await.unwrap();
    let error = refusal(config.clone()).await;
    assert!(
        error.contains(&temp.path().display().to_string()),
        "{error}"
    );
    assert!(
        error.contains("in use") && error.contains("--data-dir"),
        "{error}"
    );
    first.shutdown(Duration::from_secs(10)).await;
    Server::start(config).await.unwrap();
}

#[tokio::test]
async fn a_foreign_directory_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("thesis.tex"), "draft").unwrap();
    let config = Config {
        store: StoreKind::Embedded,
        data_dir: Some(temp.path().to_owned()),
        ..Config::throw_away()
    };
    let error = refusal(config).await;
    assert!(
        error.contains("thesis.tex") && error.contains("--data-dir"),
        "{error}"
    );
}
