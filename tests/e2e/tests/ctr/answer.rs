//! What a command came to, and how two of them are made alike.

use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What a command came to.
#[derive(PartialEq, Eq)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A line of `ctr events`: namespace, topic and payload, without when it was.
pub fn event(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let at = words.iter().position(|word| *word == "UTC").map_or(0, |at| at + 1);
    let rest = words[at..].join(" ");
    let Some((head, payload)) = rest.split_once(" {") else {
        return rest;
    };
    let mut payload = serde_json::from_str(&format!("{{{payload}")).expect("a payload in JSON");
    tame("", &mut payload);
    format!("{head} {payload}")
}

/// Takes out of a payload what is different each time, and the order of a mount's options.
fn tame(key: &str, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| tame(key, value)),
        Value::Array(items) => {
            items.iter_mut().for_each(|item| tame(key, item));
            if key == "options" {
                items.sort_unstable_by_key(ToString::to_string);
            }
        }
        Value::Number(_) if key == "pid" => *value = Value::from(0),
        Value::String(text) if key == "exited_at" => "<time>".clone_into(text),
        Value::String(text) if text.starts_with("extract-") => {
            let chain = text.rsplit(' ').next().unwrap_or_default();
            *text = format!("extract {chain}");
        }
        Value::String(text) if text.contains("/fifo/") => {
            let name = text.rsplit('/').next().unwrap_or_default();
            *text = format!("fifo {name}");
        }
        Value::String(text) => *text = places(text),
        _ => {}
    }
}

/// A transfer shows the states of what it moves again and again, each time over the last: what is moved, and what else it says.
pub fn moved(text: &str) -> String {
    let plain = text.lines().map(|line| line.split('\u{1b}').next().unwrap_or_default());
    let mut shown: Vec<&str> = plain
        .filter(|line| !line.starts_with("elapsed:"))
        .map(|line| match line.split_once(": ") {
            Some((what, state)) if state.contains('|') => what,
            _ => line,
        })
        .collect();
    shown.sort_unstable();
    shown.dedup();
    shown.join("\n")
}

/// Names, kinds, modes and sizes of what is in a compressed archive.
pub fn listing(archive: &[u8]) -> String {
    let mut gzip = Command::new("gzip");
    gzip.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = gzip.spawn().expect("gzip starts");
    let (mut stdin, archive) = (child.stdin.take().expect("piped"), archive.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&archive));
    let output = child.wait_with_output().expect("gzip ends");
    writer.join().expect("the writer ends").expect("gzip reads");
    let mut tar = tar::Archive::new(output.stdout.as_slice());
    let mut lines: Vec<String> = tar
        .entries()
        .expect("an archive")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let (header, path) = (entry.header(), entry.path().expect("a path").into_owned());
            let mode = header.mode().expect("a mode");
            format!("{} {:?} {mode:o} {}", path.display(), header.entry_type(), entry.size())
        })
        .collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Times, ages, pids and numbers of snapshots, word by word.
pub fn normal(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace("Less than a second", "<age>");
        let words: Vec<&str> = line.split_whitespace().collect();
        let shown = words.iter().enumerate().filter_map(|(at, one)| {
            let next = words.get(at + 1).copied().unwrap_or_default();
            let age = one.bytes().all(|byte| byte.is_ascii_digit()) && next.starts_with("second");
            let unit = one.starts_with("second") && at > 0;
            (!unit).then(|| if age { "<age>".to_owned() } else { word(one) })
        });
        shown.collect::<Vec<_>>().join(" ")
    });
    let mut all: Vec<String> = lines.collect();
    // How long something took, and how many bytes a second that was.
    all.retain(|line| !line.starts_with("elapsed:") && !line.starts_with("done:"));
    all.join("\n")
}

fn word(word: &str) -> String {
    if word.starts_with("time=\"") {
        return "time=<time>".to_owned();
    }
    let bare = word.trim_matches(|letter: char| "\",()[]{}".contains(letter));
    // The options of a mount and a record's labels have no order.
    if word.contains('=') && word.contains(',') {
        let mut options: Vec<String> = word.split(',').map(self::places).collect();
        options.sort_unstable();
        return options.join(",");
    }
    let date = bare.len() >= 19 && bare.as_bytes()[4] == b'-' && bare.as_bytes().get(10) == Some(&b'T');
    let pid = bare.len() >= 2 && bare.len() <= 7 && bare.bytes().all(|byte| byte.is_ascii_digit());
    if date {
        return word.replace(bare, "<time>");
    }
    if pid {
        return word.replace(bare, "<number>");
    }
    // The peer's backend names a snapshot by namespace, number and name, and says so in one message.
    if let Some((number, name)) = word.strip_prefix("<ns>/").and_then(|rest| rest.split_once('/'))
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return name.to_owned();
    }
    places(word)
}

/// Directories of snapshots: …/snapshots/12/fs
fn places(word: &str) -> String {
    let mut parts: Vec<&str> = word.split('/').collect();
    for at in 1..parts.len() {
        if parts[at - 1] == "snapshots" && !parts[at].is_empty() && parts[at].bytes().all(|byte| byte.is_ascii_digit())
        {
            parts[at] = "<n>";
        }
    }
    parts.join("/")
}
