//! Help in Docker's layout.

use super::flag::Flag;
use super::tree::{GLOBAL, GROUPS, verbs};
use super::verb::Verb;

/// Columns of help when there is no terminal to ask.
const WIDTH: usize = 80;

/// The page of one command.
pub(crate) fn verb(verb: &Verb, path: &str, width: usize) -> String {
    let mut out = usage_lines(verb, path);
    out.push_str(&format!("\n{}\n", verb.about));
    if !verb.more.is_empty() {
        out.push_str(&format!("\n{}\n", verb.more));
    }
    let paths = verb.paths();
    if paths.len() > 1 {
        let aliases: Vec<String> = paths.iter().map(|path| format!("gantry {path}")).collect();
        out.push_str(&format!("\nAliases:\n  {}\n", aliases.join(", ")));
    }
    if !verb.examples.is_empty() {
        out.push_str("\nExamples:\n");
        for example in verb.examples {
            out.push_str(&format!("  {example}\n"));
        }
    }
    let shown: Vec<&Flag> = verb.all_flags().filter(|flag| !flag.is_unbuilt()).collect();
    if !shown.is_empty() {
        out.push_str("\nOptions:\n");
        out.push_str(&flags(&shown, width));
    }
    out
}

/// "Usage:  gantry ps [OPTIONS]"
pub(crate) fn usage_lines(verb: &Verb, path: &str) -> String {
    let mut out = String::new();
    for (at, usage) in verb.usage.iter().enumerate() {
        let lead = if at == 0 { "Usage:  " } else { "\t" };
        let line = format!("{lead}gantry {path} {usage}");
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The page of `gantry` itself.
pub(crate) fn root(width: usize) -> String {
    let mut out = "Usage:  gantry [OPTIONS] COMMAND\n\nA container engine in one daemon\n".to_owned();
    let common = ["run", "exec", "ps", "pull", "images", "version", "info"];
    let find = |name: &&str| verbs().find(|verb| verb.top && verb.name == *name);
    out.push_str("\nCommon Commands:\n");
    rows(
        common.iter().filter_map(find).map(|verb| (verb.name, verb.about)),
        &mut out,
    );
    out.push_str("\nManagement Commands:\n");
    rows(GROUPS.iter().copied(), &mut out);
    out.push_str("\nCommands:\n");
    let rest = verbs().filter(|verb| verb.top && !common.contains(&verb.name));
    let mut rest: Vec<_> = rest.map(|verb| (verb.name, verb.about)).collect();
    rest.sort_unstable();
    rows(rest.into_iter(), &mut out);
    out.push_str("\nGlobal Options:\n");
    let shown: Vec<&Flag> = GLOBAL.iter().filter(|flag| !flag.is_unbuilt()).collect();
    out.push_str(&flags(&shown, width));
    out.push_str("\nRun 'gantry COMMAND --help' for more information on a command.\n");
    out
}

/// The page of a management command.
pub(crate) fn group(name: &str, about: &str) -> String {
    let mut out = format!("Usage:  gantry {name} COMMAND\n\n{about}\n\nCommands:\n");
    let mut inside: Vec<(&str, &str)> = verbs()
        .filter(|verb| verb.group == name)
        .filter_map(|verb| Some((*verb.names.first()?, verb.about)))
        .collect();
    inside.sort_unstable();
    rows(inside.into_iter(), &mut out);
    out.push_str(&format!(
        "\nRun 'gantry {name} COMMAND --help' for more information on a command.\n"
    ));
    out
}

fn rows<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>, out: &mut String) {
    for (name, about) in rows {
        out.push_str(&format!("  {name:<11} {about}\n"));
    }
}

fn flags(flags: &[&Flag], width: usize) -> String {
    let mut sorted = flags.to_vec();
    sorted.sort_by_key(|flag| flag.long);
    let left = |flag: &Flag| {
        let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
        format!("  {short}--{} {}", flag.long, flag.type_name())
            .trim_end()
            .to_owned()
    };
    let column = sorted.iter().map(|flag| left(flag).chars().count()).max().unwrap_or(0) + 3;
    let room = width.max(WIDTH).saturating_sub(column).max(24);
    let mut out = String::new();
    for flag in sorted {
        let default = match flag.default {
            "" => String::new(),
            default => format!(" (default {default})"),
        };
        let mut lead = left(flag);
        for line in wrap(&format!("{}{default}", flag.help), room) {
            out.push_str(&format!("{lead:<column$}{line}\n"));
            lead.clear();
        }
    }
    out
}

fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always a line");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > room {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_names_its_usage_and_examples() {
        for verb in verbs() {
            for path in verb.paths() {
                let page = super::verb(verb, &path, 80);
                assert!(page.starts_with(&format!("Usage:  gantry {path}")), "{page}");
                assert!(page.contains("Examples:"), "{path} has no examples");
            }
        }
        assert!(root(80).contains("  ps "));
    }

    #[test]
    fn run_says_its_network() {
        let run = verbs().find(|verb| verb.name == "run").unwrap();
        assert!(super::verb(run, "run", 80).contains("default network (bridge)"));
    }
}
