//! `holdfast token`: makes, lists and revokes the API tokens of a data directory.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::api;
use crate::core::Namespace;
use crate::server::Settings;
use crate::server::config::default_data_dir;
use crate::server::limits::TOKEN_NAME_BYTES_MAX;
use crate::server::tokens::{TokenEntry, TokenHash, TokensFile, fresh_token, role_name};

/// Make, list and revoke the API tokens of a server on this machine
#[derive(Debug, Args)]
#[command(after_help = "\
Tokens are kept, as hashes, in the server's data directory. A running server learns of changes \
within a second. From the first token on, callers without one are refused.

Callers send a token as `Authorization: Bearer TOKEN`, or with HTTP basic authentication as the \
user name with an empty password: curl -u TOKEN: ...

Examples:
  holdfast token create --namespace ci > ci.token
  holdfast token create --namespace ci --role admin --name alice
  holdfast token list
  holdfast token revoke alice")]
pub(super) struct Token {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token, and print it: this once, and never again
    Create(Create),
    /// List tokens by what is known of them
    List(List),
    /// End a token
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Place {
    /// The server's data directory [default: as of `holdfast serve`]
    #[arg(long, value_name = "DIR", env = "HOLDFAST_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// The server's configuration file, where the data directory may be set
    #[arg(long, value_name = "FILE", env = "HOLDFAST_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Create {
    /// The namespace that the token belongs to: it sees nothing of any other
    #[arg(long, value_name = "NAME")]
    namespace: String,

    /// What the token allows
    #[arg(long, value_enum, default_value_t = Role::Use)]
    role: Role,

    /// What to call it, to tell it from others
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Print a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct List {
    /// Print a JSON array
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The token's name or id, as `holdfast token list` shows them
    #[arg(value_name = "NAME|ID")]
    token: String,

    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    /// Use locks and leases
    Use,
    /// Also list all locks and leases, and end grants of others
    Admin,
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            TokenCommand::Create(create) => create.run()?,
            TokenCommand::List(list) => list.run()?,
            TokenCommand::Revoke(revoke) => revoke.run()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Place {
    fn file(self) -> anyhow::Result<TokensFile> {
        let configured = match &self.config {
            Some(file) => Settings::from_file(file)?.data_dir,
            None => None,
        };
        let dir = self
            .data_dir
            .or(configured)
            .or_else(default_data_dir)
            .context("there is no home directory: say where the server keeps its data with --data-dir DIR")?;
        Ok(TokensFile::new(dir))
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let namespace = Namespace::new(&self.namespace)?;
        if let Some(name) = &self.name
            && (name.is_empty()
                || name.len() > TOKEN_NAME_BYTES_MAX
                || name.chars().any(char::is_control))
        {
            bail!("name: must have 1 to {TOKEN_NAME_BYTES_MAX} bytes and no control characters");
        }
        let file = self.place.file()?;
        let token = fresh_token().context("the system has no random numbers")?;
        let entry = TokenEntry {
            name: self.name,
            namespace,
            role: match self.role {
                Role::Use => api::Role::Use,
                Role::Admin => api::Role::Admin,
            },
            sha256: TokenHash::of(&token),
        };
        let mut about = about(&entry);
        file.add(entry)?;
        eprintln!(
            "The token is shown this once; its hash is kept in {}.",
            file.path().display()
        );
        let line = if self.json {
            if let Some(about) = about.as_object_mut() {
                about.insert("token".to_owned(), token.expose_secret().into());
            }
            format!("{about}\n")
        } else {
            format!("{}\n", token.expose_secret())
        };
        super::print(line.as_bytes())?;
        Ok(())
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let tokens = self.place.file()?.load()?;
        if self.json {
            let list: Vec<Value> = tokens.iter().map(about).collect();
            super::print(format!("{}\n", Value::Array(list)).as_bytes())?;
            return Ok(());
        }
        let mut text = format!("{:<12}  {:<5}  {:<20}  NAME\n", "ID", "ROLE", "NAMESPACE");
        for token in &tokens {
            text.push_str(&format!(
                "{:<12}  {:<5}  {:<20}  {}\n",
                token.sha256.id(),
                role_name(token.role),
                token.namespace.as_str(),
                token.name.as_deref().unwrap_or("-"),
            ));
        }
        super::print(text.as_bytes())?;
        Ok(())
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<()> {
        let (gone, left) = self.place.file()?.revoke(&self.token)?;
        eprintln!(
            "Revoked the token {} of the namespace {}.",
            gone.name.as_deref().unwrap_or(&gone.sha256.id()),
            gone.namespace
        );
        if left == 0 {
            eprintln!(
                "No token is left here. A server that runs goes on refusing callers without one; started anew without any token, it lets everyone on its own machine in."
            );
        }
        Ok(())
    }
}

/// What may be told of a token.
fn about(token: &TokenEntry) -> Value {
    json!({
        "id": token.sha256.id(),
        "name": token.name,
        "namespace": token.namespace.as_str(),
        "role": role_name(token.role),
    })
}
