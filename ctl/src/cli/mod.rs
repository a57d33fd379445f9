//! From argv to a command: parsing by clap, words by Docker.
//!
//! clap knows flags and their values; how many arguments a command takes, what a value must look like and how an error reads is
//! decided here, so that scripts written for `docker` meet the texts and exit codes they expect.

pub(crate) mod flag;
pub(crate) mod help;
mod list;
mod tree;
pub(crate) mod verb;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};
use tracing::level_filters::LevelFilter;

use flag::Flag;
pub(crate) use list::listing;
use tree::{GLOBAL, GROUPS, verbs};
use verb::{Parsed, Verb};

/// What argv came to.
pub(crate) enum Outcome {
    Run {
        verb: &'static Verb,
        parsed: Parsed,
        host: String,
        /// How much the tool tells of its own doings.
        level: LevelFilter,
    },
    /// Text for stdout, exit 0.
    Print(String),
    /// Text for stderr and an exit code.
    Fail(String, i32),
}

/// Exit code for flags that make no sense, as Docker has it.
const BAD_FLAG: i32 = 125;

/// Reads the arguments after the program's name.
pub(crate) fn parse(args: &[String], host_from_env: Option<String>, width: usize) -> Outcome {
    let (global, rest) = match globals(args) {
        Ok(found) => found,
        Err(message) => {
            return Outcome::Fail(
                format!("{message}\n\nUsage:  gantry [OPTIONS] COMMAND\n\nRun 'gantry --help' for more information"),
                BAD_FLAG,
            );
        }
    };
    let level = match level(&global) {
        Ok(level) => level,
        Err(message) => return Outcome::Fail(message, 1),
    };
    if global.on("version") {
        return Outcome::Print(format!("gantry version {}\n", env!("CARGO_PKG_VERSION")));
    }
    if global.is_given("namespace") {
        return Outcome::Fail(refusal("namespace"), 1);
    }
    let Some(name) = rest.first() else {
        return Outcome::Print(help::root(width));
    };
    if global.on("help") {
        return Outcome::Print(help::root(width));
    }
    match name.as_str() {
        "help" => return help_of(&rest[1..], width),
        "__commands" => return Outcome::Print(listing()),
        _ => {}
    }
    let (verb, path, own) = match find(rest) {
        Ok(found) => found,
        Err(outcome) => return *outcome,
    };
    if own.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--help") && !verb.flags_first {
        return Outcome::Print(help::verb(verb, &path, width));
    }
    match arguments(verb, own) {
        Ok(None) => Outcome::Print(help::verb(verb, &path, width)),
        Ok(Some(mut parsed)) => {
            if let Some(complaint) = verb.arity.complaint(parsed.args.len()) {
                let (usage, pointer) = (help::usage_lines(verb, &path), verb.arity.pointer());
                let text = format!(
                    "gantry: 'gantry {path}' {complaint}\n\n{usage}\n{pointer} 'gantry {path} --help' for more information"
                );
                return Outcome::Fail(text, 1);
            }
            if let Some(flag) = verb
                .all_flags()
                .find(|flag| flag.is_unbuilt() && parsed.is_given(flag.long))
            {
                return Outcome::Fail(refusal(flag.long), if verb.flags_first { BAD_FLAG } else { 1 });
            }
            parsed.path = path;
            let host = global.text("host").map(str::to_owned).or(host_from_env);
            Outcome::Run {
                verb,
                parsed,
                host: host.unwrap_or_else(|| crate::client::DEFAULT_HOST.to_owned()),
                level,
            }
        }
        Err(message) => {
            let usage = help::usage_lines(verb, &path);
            Outcome::Fail(
                format!("{message}\n\n{usage}\nRun 'gantry {path} --help' for more information"),
                BAD_FLAG,
            )
        }
    }
}

/// What `--log-level` and `--debug` come to; the latter outdoes the former.
fn level(global: &Parsed) -> Result<LevelFilter, String> {
    let word = global
        .text("log-level")
        .filter(|word| !word.is_empty())
        .unwrap_or("info");
    let level = crate::trace::level(word).ok_or_else(|| format!("Unable to parse logging level: {word}"))?;
    Ok(if global.on("debug") {
        level.max(LevelFilter::DEBUG)
    } else {
        level
    })
}

/// Why a flag of Docker's is refused.
fn refusal(flag: &str) -> String {
    let why = match flag {
        "scope" | "ingress" | "config-from" | "config-only" => "networks of a swarm are not built",
        "namespace" => "other namespaces are not built yet",
        "platform" => "running another platform than the host's is not built yet",
        "cpu-count" | "cpu-percent" | "io-maxbandwidth" | "io-maxiops" | "isolation" => "only Windows has it",
        "gpus" => "no driver of such devices is built; give their nodes by --device",
        "storage-opt" => "no snapshotter here keeps quotas of a container's own layer",
        "disable-content-trust" => "nothing is signed or checked by signature here",
        "use-api-socket" => "mount the socket by --volume instead",
        _ => "it is not built yet",
    };
    format!("gantry: flag --{flag} is refused: {why}")
}

fn help_of(words: &[String], width: usize) -> Outcome {
    if words.is_empty() {
        return Outcome::Print(help::root(width));
    }
    match find(words) {
        Ok((verb, path, _)) => Outcome::Print(help::verb(verb, &path, width)),
        Err(outcome) => *outcome,
    }
}

/// The global flags before the command, and what follows.
fn globals(args: &[String]) -> Result<(Parsed, &[String]), String> {
    let end = first_argument(GLOBAL.iter(), args);
    let (before, rest) = args.split_at(end);
    let mut parsed = Parsed::default();
    fill(&mut parsed, GLOBAL.iter(), before)?;
    Ok((parsed, rest.strip_prefix(&["--".to_owned()]).unwrap_or(rest)))
}

type Found<'a> = (&'static Verb, String, &'a [String]);

/// The command that the words name, how it was called, and its own arguments.
fn find(words: &[String]) -> Result<Found<'_>, Box<Outcome>> {
    let name = words[0].as_str();
    if let Some((group, about)) = GROUPS.iter().find(|(group, _)| *group == name) {
        let Some(word) = words.get(1).filter(|word| !matches!(word.as_str(), "--help" | "-h")) else {
            return Err(Box::new(Outcome::Print(help::group(group, about))));
        };
        let verb = verbs().find(|verb| verb.group == *group && verb.names.contains(&word.as_str()));
        return verb.map(|verb| (verb, format!("{group} {word}"), &words[2..])).ok_or_else(|| {
            let text = format!(
                "gantry: unknown command: gantry {group} {word}\n\nUsage:  gantry {group} COMMAND\n\nRun 'gantry {group} --help' for more information"
            );
            Box::new(Outcome::Fail(text, 1))
        });
    }
    let verb = verbs().find(|verb| verb.top && verb.name == name);
    verb.map(|verb| (verb, name.to_owned(), &words[1..])).ok_or_else(|| {
        let text = format!("gantry: unknown command: gantry {name}\n\nRun 'gantry --help' for more information");
        Box::new(Outcome::Fail(text, 1))
    })
}

/// A command's arguments; none if help was asked for.
fn arguments(verb: &'static Verb, args: &[String]) -> Result<Option<Parsed>, String> {
    let mut parsed = Parsed::default();
    let help_letter = !verb.all_flags().any(|flag| flag.short == Some('h'));
    let asks = |args: &[String]| args.iter().any(|arg| arg == "--help" || (help_letter && arg == "-h"));
    if verb.flags_first {
        let end = first_argument(verb.all_flags(), args);
        let (before, after) = args.split_at(end);
        if asks(before) {
            return Ok(None);
        }
        fill(&mut parsed, verb.all_flags(), before)?;
        parsed.args = after.strip_prefix(&["--".to_owned()]).unwrap_or(after).to_vec();
    } else {
        if help_letter && args.iter().any(|arg| arg == "-h") {
            return Ok(None);
        }
        fill(&mut parsed, verb.all_flags(), args)?;
    }
    Ok(Some(parsed))
}

/// Where the first word stands that is neither a flag nor a flag's value; `--` counts.
fn first_argument(flags: impl Iterator<Item = &'static Flag> + Clone, args: &[String]) -> usize {
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        if arg == "-" || arg == "--" || !arg.starts_with('-') {
            return at;
        }
        at += 1 + usize::from(takes_next(flags.clone(), arg));
    }
    args.len()
}

/// Whether a flag's value is the next word.
fn takes_next(mut flags: impl Iterator<Item = &'static Flag> + Clone, arg: &str) -> bool {
    if let Some(name) = arg.strip_prefix("--") {
        let known = flags.find(|flag| flag.long == name || flag.alias == Some(name));
        return known.is_some_and(|flag| !flag.is_switch());
    }
    for (at, letter) in arg.char_indices().skip(1) {
        match flags.clone().find(|flag| flag.short == Some(letter)) {
            Some(flag) if flag.is_switch() => {}
            Some(_) => return at + letter.len_utf8() == arg.len(),
            None => return false,
        }
    }
    false
}

/// Parses with clap, then checks each value.
fn fill(
    parsed: &mut Parsed,
    flags: impl Iterator<Item = &'static Flag> + Clone,
    args: &[String],
) -> Result<(), String> {
    let words = Arg::new("words").action(ArgAction::Append).num_args(0..);
    let command = Command::new("gantry")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true);
    let command = command.args(flags.clone().map(Flag::arg)).arg(words);
    let mut matches = command
        .try_get_matches_from(args)
        .map_err(|err| complaint(&err, args))?;
    for flag in flags {
        let values: Vec<String> = matches
            .remove_many::<String>(flag.long)
            .map(Iterator::collect)
            .unwrap_or_default();
        for value in &values {
            flag.check(value)
                .map_err(|why| format!("invalid argument {value:?} for \"{}\" flag: {why}", flag.title()))?;
        }
        parsed.note(flag, values);
    }
    parsed.args = matches
        .remove_many::<String>("words")
        .map(Iterator::collect)
        .unwrap_or_default();
    Ok(())
}

/// clap's error in the words of Docker's flag library.
fn complaint(err: &clap::Error, args: &[String]) -> String {
    let arg = match err.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => arg.split([' ', '=']).next().unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    match err.kind() {
        ErrorKind::UnknownArgument if arg.starts_with("--") => format!("unknown flag: {arg}"),
        ErrorKind::UnknownArgument => {
            let letter = arg.trim_start_matches('-').chars().next().unwrap_or_default();
            let cluster = args
                .iter()
                .find(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(letter));
            let tail = cluster
                .and_then(|word| word.find(letter).map(|at| &word[at..]))
                .unwrap_or_default();
            let whole = cluster.map_or_else(
                || format!("-{letter}"),
                |word| {
                    if word.starts_with(&format!("-{letter}")) {
                        word.clone()
                    } else {
                        format!("-{tail}")
                    }
                },
            );
            format!("unknown shorthand flag: '{letter}' in {whole}")
        }
        ErrorKind::InvalidValue | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => match args.last() {
            Some(last) if !last.starts_with("--") && last.starts_with('-') => {
                let letter = last.chars().last().unwrap_or_default();
                format!("flag needs an argument: {letter:?} in {last}")
            }
            _ => format!("flag needs an argument: {arg}"),
        },
        _ => err
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;
