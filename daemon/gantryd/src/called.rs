//! The command line of a daemon called containerd: that program's flags, commands, words and exit codes (containerd
//! docs/man/containerd.8).

use crate::config::{CONTAINERD_FILE, PublishDeed, default_text};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value, json};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What a command line asks for.
pub enum Asked {
    /// A daemon: its flags, by the keys of `daemon.json`, and its file.
    Serve {
        flags: Map<String, Value>,
        file: Option<PathBuf>,
    },
    /// Help, version, defaults.
    Print(String),
    /// What a hook's program is and is told.
    Hook {
        words: Vec<String>,
    },
    /// The configuration as it is in the end.
    Dump {
        file: Option<PathBuf>,
    },
    Publish {
        deed: PublishDeed,
        address: Option<String>,
    },
    /// It is not understood: `text` for stdout, `error` for stderr.
    Refuse {
        text: String,
        error: String,
        code: i32,
    },
}

/// Exit codes: of a wrong flag, and of a command that there is not.
const USAGE: i32 = 1;
const NO_TOPIC: i32 = 3;
/// Flags that may be written with one dash, as Go's can, with the key of `daemon.json` that each becomes.
const FLAGS: [(&str, &str); 4] = [
    ("address", "address"),
    ("log-level", "log-level"),
    ("root", "data-root"),
    ("state", "exec-root"),
];

fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("value").help(help);
    let config = Command::new("config")
        .about("information on the containerd config")
        .disable_help_subcommand(true)
        .subcommand(Command::new("default").about("see the output of the default config"))
        .subcommand(
            Command::new("dump").about("see the output of the final main config with imported in subconfig files"),
        )
        .subcommand(Command::new("migrate").about("migrate the current configuration file to the latest version"));
    let hook = Command::new("oci-hook")
        .about("provides a base for OCI runtime hooks to allow arguments to be injected")
        .arg(
            Arg::new("program")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .help("program and arguments of the hook"),
        );
    let publish = Command::new("publish")
        .about("binary to publish events to containerd")
        .arg(flag("namespace", "namespace to publish to"))
        .arg(flag("topic", "topic of the event"));
    Command::new("containerd")
        .about("gantryd in the place of containerd")
        .disable_version_flag(true)
        .arg(
            flag("config", "path to the configuration file")
                .short('c')
                .default_value(CONTAINERD_FILE),
        )
        .arg(
            flag(
                "log-level",
                "set the logging level [trace, debug, info, warn, error, fatal, panic]",
            )
            .short('l'),
        )
        .arg(flag("address", "address for containerd's GRPC server").short('a'))
        .arg(flag("root", "containerd root directory"))
        .arg(flag("state", "containerd state directory"))
        .arg(
            Arg::new("version")
                .long("version")
                .short('v')
                .action(ArgAction::SetTrue)
                .help("print the version"),
        )
        .subcommand(config)
        .subcommand(publish)
        .subcommand(hook)
}

/// Program, package, version and revision, four words as containerd's line has.
fn version() -> String {
    format!(
        "containerd gantry {} {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("GANTRY_GIT_COMMIT")
    )
}

pub fn parse(line: impl IntoIterator<Item = OsString>) -> Asked {
    let mut is_ours = true;
    let line = line.into_iter().map(|arg| {
        // What follows is a hook's.
        is_ours &= arg != "--";
        if is_ours { two_dashes(arg) } else { arg }
    });
    match command().try_get_matches_from(line) {
        Ok(matches) => asked(&matches),
        Err(error) => refused(&error),
    }
}

/// `-root` as Go's flags take it.
fn two_dashes(arg: OsString) -> OsString {
    let Some(text) = arg.to_str() else { return arg };
    let name = text.split('=').next().unwrap_or_default();
    let long = ["config", "help", "version", "namespace", "topic"];
    let known = |name: &str| FLAGS.iter().any(|(flag, _)| *flag == name) || long.contains(&name);
    match name.strip_prefix('-') {
        Some(name) if known(name) => OsString::from(format!("-{text}")),
        _ => arg,
    }
}

fn asked(matches: &ArgMatches) -> Asked {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    // The default file need not be there; one that is named must be.
    let named = matches.value_source("config") == Some(clap::parser::ValueSource::CommandLine);
    let file = text("config").map(PathBuf::from).filter(|path| named || path.exists());
    if matches.get_flag("version") {
        return Asked::Print(version());
    }
    match matches.subcommand() {
        None => Asked::Serve {
            flags: flags(matches),
            file,
        },
        Some(("publish", publish)) => {
            let text = |name: &str| publish.get_one::<String>(name).cloned().unwrap_or_default();
            let deed = PublishDeed {
                topic: text("topic"),
                namespace: text("namespace"),
            };
            let address = matches.get_one::<String>("address").cloned();
            Asked::Publish { deed, address }
        }
        Some(("oci-hook", hook)) => Asked::Hook {
            words: hook.get_many("program").into_iter().flatten().cloned().collect(),
        },
        Some((_, config)) => match config.subcommand_name() {
            Some("default") => Asked::Print(default_text()),
            Some("dump" | "migrate") => Asked::Dump { file },
            _ => Asked::Print(help(&["config"])),
        },
    }
}

/// An empty value says nothing, as containerd reads its flags.
fn flags(matches: &ArgMatches) -> Map<String, Value> {
    let given = FLAGS.iter().filter_map(|(flag, key)| {
        let text = matches.get_one::<String>(flag).filter(|text| !text.is_empty())?;
        Some(((*key).to_owned(), json!(text)))
    });
    given.collect()
}

fn help(path: &[&str]) -> String {
    let mut whole = command();
    whole.build();
    let mut at = &mut whole;
    for name in path {
        at = at.find_subcommand_mut(name).expect("the path is of this command");
    }
    at.render_help().to_string()
}

fn refused(error: &clap::Error) -> Asked {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Asked::Print(error.render().to_string());
    }
    let context = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    if let Some(topic) = context(ContextKind::InvalidSubcommand) {
        return no_topic(&topic);
    }
    let flag = context(ContextKind::InvalidArg).unwrap_or_default();
    let name = flag.split([' ', '=']).next().unwrap_or_default();
    let go = format!("-{}", name.trim_start_matches('-'));
    let said = match error.kind() {
        ErrorKind::UnknownArgument if name.starts_with('-') => format!("flag provided but not defined: {go}"),
        ErrorKind::UnknownArgument => return no_topic(name),
        ErrorKind::InvalidValue | ErrorKind::NoEquals | ErrorKind::TooFewValues => {
            format!("flag needs an argument: {go}")
        }
        _ => error.render().to_string().lines().next().unwrap_or_default().to_owned(),
    };
    Asked::Refuse {
        text: format!("Incorrect Usage. {said}\n\n{}", help(&[])),
        error: said,
        code: USAGE,
    }
}

fn no_topic(topic: &str) -> Asked {
    Asked::Refuse {
        text: String::new(),
        error: format!("no help topic for '{topic}'"),
        code: NO_TOPIC,
    }
}

/// Whether a program's name is the one this is all for.
pub fn is(program: &OsStr) -> bool {
    std::path::Path::new(program)
        .file_name()
        .is_some_and(|name| name == "containerd")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Asked {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
        assert!(is(OsStr::new("/usr/bin/containerd")) && !is(OsStr::new("/usr/bin/gantryd")));
    }

    #[test]
    fn flags_become_keys_in_every_spelling() {
        for line in [
            "containerd --root /r --state=/s -a /a.sock -l debug -c /etc/hosts",
            "containerd -root /r -state=/s -address /a.sock -log-level debug --config=/etc/hosts",
        ] {
            let Asked::Serve { flags, file } = ask(line) else {
                panic!("{line}")
            };
            let expected = json!({ "address": "/a.sock", "data-root": "/r", "exec-root": "/s", "log-level": "debug" });
            assert_eq!(Value::Object(flags), expected);
            assert_eq!(file, Some(PathBuf::from("/etc/hosts")));
        }
        let Asked::Serve { file, .. } = ask("containerd -c /nonexistent") else {
            panic!()
        };
        assert_eq!(
            file,
            Some(PathBuf::from("/nonexistent")),
            "one that is named is read, and missed"
        );
    }

    #[test]
    fn commands_and_mistakes_are_containerds() {
        assert!(matches!(ask("containerd config default"), Asked::Print(text) if text.contains("version = 2")));
        assert!(matches!(
            ask("containerd -c /x config dump"),
            Asked::Dump { file: Some(_) }
        ));
        assert!(matches!(
            ask("containerd -c /x config migrate"),
            Asked::Dump { file: Some(_) }
        ));
        assert!(
            matches!(ask("containerd oci-hook -- /bin/ps -version --pid {{pid}}"), Asked::Hook { words }
                if words == ["/bin/ps", "-version", "--pid", "{{pid}}"])
        );
        assert!(matches!(ask("containerd config"), Asked::Print(text) if text.contains("dump")));
        let Asked::Print(line) = ask("containerd -v") else {
            panic!()
        };
        assert_eq!(line.split_whitespace().count(), 4, "{line}");
        let asked = ask("containerd --address /a publish --topic /t --namespace n");
        assert!(
            matches!(asked, Asked::Publish { deed, address: Some(_) } if deed.topic == "/t" && deed.namespace == "n")
        );
        for (line, said, exit) in [
            ("containerd --nope", "flag provided but not defined: -nope", 1),
            ("containerd publish --nope", "flag provided but not defined: -nope", 1),
            ("containerd --root", "flag needs an argument: -root", 1),
            ("containerd config nope", "no help topic for 'nope'", 3),
            ("containerd nope", "no help topic for 'nope'", 3),
        ] {
            match ask(line) {
                Asked::Refuse { error, code, .. } => assert_eq!((error.as_str(), code), (said, exit), "{line}"),
                _ => panic!("{line}"),
            }
        }
    }
}
