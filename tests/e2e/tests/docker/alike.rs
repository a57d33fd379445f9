//! What a command came to, and how two of them are made alike: the written list of what differs by nature.

use serde_json::Value;
use std::process::Output;

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

    pub fn sorted(mut self) -> Self {
        let mut lines: Vec<&str> = self.stdout.lines().collect();
        lines.sort_unstable();
        self.stdout = lines.join("\n");
        self
    }

    /// Ports without those of IPv6: of a container that has no IPv6 address, dockerd's proxy process leads there, and here nothing
    /// does, so nothing is shown.
    pub fn by_ipv4(mut self) -> Self {
        let lines: Vec<&str> = self.stdout.lines().filter(|line| !line.contains("[::]:")).collect();
        self.stdout = lines.join("\n");
        self
    }

    /// Each line once.
    pub fn unique(mut self) -> Self {
        let mut lines: Vec<String> = self.stdout.lines().map(alike).collect();
        lines.dedup();
        self.stdout = lines.join("\n");
        self
    }

    pub fn code_only(mut self) -> Self {
        for text in [&mut self.stdout, &mut self.stderr] {
            *text = if text.trim().is_empty() {
                String::new()
            } else {
                "something\n".to_owned()
            };
        }
        self
    }

    /// JSON with its keys in one order, without the fields that differ.
    pub fn json(mut self) -> Self {
        if let Ok(mut value) = serde_json::from_str::<Value>(&self.stdout) {
            tame(&mut value);
            self.stdout = serde_json::to_string_pretty(&value).expect("a value becomes text");
        }
        self
    }
}

/// Fields that differ by nature, and why.
const FIELDS: &[&str] = &[
    // Which programs and drivers there are, and how they are called.
    "Driver",
    "DriverStatus",
    "GraphDriver",
    "Runtime",
    "Runtimes",
    "DefaultRuntime",
    "Platform",
    "Components",
    "Version",
    "ServerVersion",
    "ApiVersion",
    "MinAPIVersion",
    "GitCommit",
    "GoVersion",
    "BuildTime",
    "DockerVersion",
    "ContainerdCommit",
    "RuncCommit",
    "InitCommit",
    "InitBinary",
    "Plugins",
    // Newer engines hide more.
    "MaskedPaths",
    // Ids of things that each makes for itself, and what is derived from them.
    "Id",
    "ID",
    "SandboxID",
    "SandboxKey",
    "EndpointID",
    "NetworkID",
    "MacAddress",
    "Hostname",
    // When it was.
    "Created",
    "CreatedAt",
    "StartedAt",
    "FinishedAt",
    "LastTagTime",
    "SystemTime",
    "Pid",
    // Where it is. Ours makes the files of a network when it starts a container.
    "ResolvConfPath",
    "HostnamePath",
    "HostsPath",
    "LogPath",
    // Each takes addresses from a pool of its own.
    "IPAddress",
    "Subnet",
    "IPv4Address",
    // The peer's word for the default network is older than 28's.
    "NetworkMode",
    // The peer applies it; newer kernels and engines do not.
    "KernelMemory",
    "KernelMemoryTCP",
    // Bytes of the same tree, counted by each storage driver in its own way.
    "Size",
    "VirtualSize",
    "SizeRw",
    "SizeRootFs",
    // Ours are kept for every image, as containerd keeps them.
    "RepoDigests",
    // Kept of the container that an image was made from, by engines of old.
    "Container",
    "ContainerConfig",
];

/// Fields that one side leaves out: of networks that name a subnet, the peer does not show the gateway it chose.
const LEFT_OUT: &[&str] = &["Gateway"];

fn tame(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !LEFT_OUT.contains(&key.as_str()));
            for (key, value) in fields.iter_mut() {
                if FIELDS.contains(&key.as_str()) {
                    *value = Value::String("<differs>".to_owned());
                } else {
                    tame(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tame),
        _ => {}
    }
}

/// Takes out of a text what is different each time: ids, times, addresses; and the case of the first letter of a message, which
/// engines changed since.
pub fn alike(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(line).collect();
    lines.join("\n")
}

fn line(text: &str) -> String {
    let text = lower_message(text);
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '+') {
            word.push(c);
            continue;
        }
        out.push_str(&plain(&word));
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    ages(&out)
}

/// One word without what is different each time.
fn plain(word: &str) -> String {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bare = word
        .strip_prefix("sha256:")
        .unwrap_or(word)
        .trim_end_matches(['.', ':']);
    let tail = &word[word.find(bare).unwrap_or(0) + bare.len()..];
    if bare.len() == 64 && hex(bare) {
        return format!("<id>{tail}");
    }
    if bare.len() == 12 && hex(bare) && bare.bytes().any(|byte| byte.is_ascii_digit()) {
        return format!("<short>{tail}");
    }
    let parts: Vec<&str> = bare.split('.').collect();
    if parts.len() == 4 && parts.iter().all(|part| part.parse::<u8>().is_ok()) && bare.starts_with("172.") {
        return format!("<address>{tail}");
    }
    if bare.len() >= 20 && bare.contains('T') && bare[..10].chars().all(|c| c.is_ascii_digit() || c == '-') {
        return format!("<time>{tail}");
    }
    word.to_owned()
}

/// `Up 3 seconds` and the like.
fn ages(text: &str) -> String {
    let units = [
        "second",
        "seconds",
        "minute",
        "minutes",
        "Less than a second",
        "About a minute",
    ];
    let mut text = text
        .replace("Less than a second", "1 second")
        .replace("About a minute", "1 minute");
    for unit in units {
        let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        for at in 1..words.len() {
            if words[at].trim_end_matches(|c: char| !c.is_alphabetic()) == unit && words[at - 1].parse::<u32>().is_ok()
            {
                words[at - 1] = "<n>".to_owned();
                words[at] = words[at].replacen(unit, "seconds", 1);
            }
        }
        text = words.join(" ");
    }
    // Columns are as wide as what is in them.
    while text.contains("    ") {
        text = text.replace("    ", "   ");
    }
    text.trim_end().to_owned()
}

/// What a daemon says begins with a small letter since 23.
fn lower_message(text: &str) -> String {
    for head in [
        "Error response from daemon: ",
        "Error: ",
        "docker: Error response from daemon: ",
    ] {
        if let Some(rest) = text.strip_prefix(head) {
            let mut chars = rest.chars();
            let first = chars.next().map(|c| c.to_ascii_lowercase());
            return format!(
                "{head}{}{}",
                first.map(String::from).unwrap_or_default(),
                chars.as_str()
            );
        }
    }
    text.to_owned()
}
