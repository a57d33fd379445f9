//! `ctr events` in the background.

use crate::side::{LIMIT, Side};
use gantry_e2e::{eventually, peers};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

/// `ctr events`, running.
pub struct Watch {
    child: Child,
    seen: Arc<Mutex<String>>,
}

impl Watch {
    pub fn start(side: &Side) -> Self {
        let mut command = side.command(&["events".to_owned()]);
        // Events of newer kinds are complained of there.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("ctr starts");
        let stdout = child.stdout.take().expect("piped");
        let seen: Arc<Mutex<String>> = Arc::default();
        let sink = seen.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut seen = sink.lock().expect("not poisoned");
                seen.push_str(&line);
                seen.push('\n');
            }
        });
        let watch = Self { child, seen };
        // Whether it listens already is seen only by what it says.
        let probe = |verb: &str| ["namespaces".to_owned(), verb.to_owned(), "probe".to_owned()];
        eventually("events are told", LIMIT, || {
            side.run(&probe("create"), None);
            side.run(&probe("rm"), None);
            watch.text().contains("probe")
        });
        watch
    }

    fn text(&self) -> String {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// Everything but the probes, once this was told, and of two tasks that they are deleted.
    pub fn end(mut self, until: &str) -> String {
        eventually(&format!("{until} is told"), LIMIT, || self.text().contains(until));
        // What a shim tells comes in its own time.
        eventually("the shims have told all", LIMIT, || {
            self.text().matches("/tasks/delete").count() >= 2
        });
        peers::end(&mut self.child);
        let text = self.text();
        let lines = text.lines().filter(|line| !line.contains("probe"));
        lines.collect::<Vec<_>>().join("\n")
    }
}
