//! Progress of pulls and loads: a line per layer that is drawn over on a terminal, plain lines elsewhere.

use std::collections::HashMap;

use crate::attach::term;
use crate::format::units;
use crate::out;

/// Where progress goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Stdout,
    Stderr,
}

/// Lines by id, in the order in which they came.
pub(crate) struct Progress {
    to: To,
    live: bool,
    color: bool,
    lines: Vec<String>,
    by_id: HashMap<String, usize>,
    /// What was last said of an id, where lines are plain.
    said: HashMap<String, String>,
}

impl Progress {
    pub(crate) fn new(to: To) -> Self {
        let live = match to {
            To::Stdout => term::stdout_is_terminal(),
            To::Stderr => term::stderr_is_terminal(),
        };
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            to,
            live: live && !dumb,
            color,
            lines: Vec::new(),
            by_id: HashMap::new(),
            said: HashMap::new(),
        }
    }

    /// Shows a piece of news. Without an id it is a line of its own.
    pub(crate) fn show(&mut self, id: &str, status: &str, current: u64, total: u64) {
        if id.is_empty() {
            self.write(&format!("{status}\n"));
            self.lines.clear();
            self.by_id.clear();
        } else if self.live {
            self.draw(id, status, current, total);
        } else if self.said.get(id).is_none_or(|said| said != status) && !moving(status) {
            self.said.insert(id.to_owned(), status.to_owned());
            self.write(&format!("{id}: {status}\n"));
        }
    }

    fn draw(&mut self, id: &str, status: &str, current: u64, total: u64) {
        let text = format!(
            "{id}: {status}{}",
            bar(
                current,
                total,
                term::width().saturating_sub(id.len() + status.len() + 2)
            )
        );
        let at = match self.by_id.get(id) {
            Some(at) => *at,
            None => {
                self.lines.push(String::new());
                self.by_id.insert(id.to_owned(), self.lines.len() - 1);
                self.write("\n");
                self.lines.len() - 1
            }
        };
        if self.lines[at] == text {
            return;
        }
        self.lines[at].clone_from(&text);
        let up = self.lines.len() - at;
        let shown = match done(status) && self.color {
            true => format!("\x1b[32m{text}\x1b[0m"),
            false => text,
        };
        self.write(&format!("\x1b[{up}A\r\x1b[2K{shown}\x1b[{up}B\r"));
    }

    fn write(&self, text: &str) {
        match self.to {
            To::Stdout => out::put(text),
            To::Stderr => out::put_err(text),
        }
    }
}

/// Says again and again how far something is: of no use on plain lines.
fn moving(status: &str) -> bool {
    matches!(status, "Downloading" | "Extracting" | "Loading layer")
}

fn done(status: &str) -> bool {
    matches!(status, "Pull complete" | "Already exists")
}

/// " [=====>     ]  1.2MB/3.4MB", as wide as there is room for.
fn bar(current: u64, total: u64, room: usize) -> String {
    if current == 0 && total == 0 {
        return String::new();
    }
    let human = |bytes: u64| units::human_size(bytes as f64, 4);
    if total == 0 {
        return format!(" {}", human(current));
    }
    let numbers = format!("{}/{}", human(current.min(total)), human(total));
    let width = room.saturating_sub(numbers.len() + 6).min(50);
    if width < 10 {
        return format!(" {numbers}");
    }
    let filled = usize::try_from(u128::from(current.min(total)) * width as u128 / u128::from(total)).unwrap_or(0);
    let head = if filled < width { ">" } else { "" };
    format!(" [{:<width$}]  {numbers}", format!("{}{head}", "=".repeat(filled)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_up_and_fit() {
        assert_eq!(bar(0, 0, 80), "");
        assert_eq!(bar(500, 0, 80), " 500B");
        assert_eq!(bar(5, 10, 26), " [=======>      ]  5B/10B");
        assert!(bar(10, 10, 80).contains("=]  10B/10B"));
        assert_eq!(bar(5, 10, 12), " 5B/10B");
    }
}
