//! One house for all cases, with what they need: a running container, an ended one, a registry and a few files.

use crate::registry::Registry;
use gantry_e2e::{Gantry, House, Output, eventually};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub const IMAGE: &str = "busybox";
/// A container that runs and that no case changes. Not a word of the generator's: a name it makes must not begin so.
pub const UP: &str = "up-right";
/// A container that ended with 3 and that no case changes.
pub const DONE: &str = "done";

/// What a command or a flag of it is for, or how it fails.
pub struct Case {
    pub command: String,
    /// Without the dashes; empty for the command itself.
    pub flag: &'static str,
    pub succeeds: bool,
    pub check: Box<dyn Fn(&Stage) + Send + Sync>,
}

impl std::fmt::Display for Case {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = if self.succeeds { "succeeds" } else { "fails" };
        write!(out, "gantry {} --{} {end}", self.command, self.flag)
    }
}

/// A case in which it does what it is for.
pub fn good(command: &str, flag: &'static str, check: impl Fn(&Stage) + Send + Sync + 'static) -> Case {
    Case {
        command: command.to_owned(),
        flag,
        succeeds: true,
        check: Box::new(check),
    }
}

/// A case in which it fails: the arguments, the exit code and a part of what it says.
pub fn bad(command: &str, flag: &'static str, args: &[&str], code: i32, says: &'static str) -> Case {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let check = move |stage: &Stage| {
        let taken = stage.path("taken").to_str().expect("a path of ASCII").to_owned();
        let fill = |arg: &String| if arg == "{taken}" { taken.clone() } else { arg.clone() };
        let output = stage.gantry.finish(stage.gantry.command(args.iter().map(fill)));
        let (out, err) = (&output.stdout, &output.stderr);
        assert_eq!(output.code, code, "gantry {args:?}: {out}{err}");
        assert!(err.contains(says), "gantry {args:?} says: {err}");
    };
    Case {
        command: command.to_owned(),
        flag,
        succeeds: false,
        check: Box::new(check),
    }
}

pub struct Stage {
    pub gantry: Gantry,
    pub house: House,
    count: AtomicUsize,
    registry: OnceLock<Registry>,
    images: Mutex<()>,
}

pub const LIMIT: Duration = gantry_e2e::PATIENCE;

impl Stage {
    pub fn new() -> Self {
        let house = House::new();
        let gantry = house.gantry();
        gantry.ok(&[
            "run",
            "-d",
            "--name",
            UP,
            "--label",
            "kind=up-right",
            IMAGE,
            "sh",
            "-c",
            "echo out; echo err >&2; echo x > /file; ln -s /file /link; exec sleep 1000",
        ]);
        gantry
            .run(&["run", "--name", DONE, IMAGE, "sh", "-c", "exit 3"])
            .exits(3);
        let stage = Self {
            gantry,
            house,
            count: AtomicUsize::new(0),
            registry: OnceLock::new(),
            images: Mutex::new(()),
        };
        eventually("the container has made its files", LIMIT, || {
            stage.gantry.run(&["exec", UP, "test", "-L", "/link"]).code == 0
        });
        fs::write(stage.path("taken"), "an id").expect("a file");
        stage
    }

    pub fn registry(&self) -> &Registry {
        self.registry.get_or_init(|| Registry::start(self))
    }

    /// Cases that make and remove images of the same layers take turns.
    pub fn alone(&self) -> MutexGuard<'_, ()> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name no other case uses.
    pub fn name(&self) -> String {
        format!("case{}", self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// A path outside containers, in the house's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.house.root().join(name)
    }

    /// The same as text.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(&format!("{}-{name}", self.name()));
        fs::write(&path, content).expect("a file");
        path.to_str().expect("a path of ASCII").to_owned()
    }

    /// A running container of the case's own.
    pub fn up(&self, flags: &[&str], script: &str) -> String {
        let name = self.name();
        let mut args = vec!["run", "-d", "--name", &name];
        args.extend(flags);
        args.extend([IMAGE, "sh", "-c", script]);
        self.gantry.ok(&args);
        name
    }

    /// One template's value of a container.
    pub fn look(&self, name: &str, template: &str) -> String {
        self.gantry.ok(&["inspect", "-f", template, name])
    }

    pub fn gone(&self, name: &str) {
        self.gantry.ok(&["rm", "-f", name]);
    }

    /// `run` with the flags, or `create` with them and then `start -a`; what the script printed.
    pub fn made(&self, verb: &str, flags: &[&str], script: &str) -> Output {
        let name = self.name();
        let mut args = vec![verb, "--name", &name];
        args.extend(flags);
        args.extend([IMAGE, "sh", "-c", script]);
        let mut output = self.gantry.run(&args);
        if verb == "create" {
            output = output.exits(0);
            assert_eq!(output.line().len(), 64, "an id: {}", output.stdout);
            output = self.gantry.run(&["start", "-a", &name]);
        }
        self.gone(&name);
        output
    }

    /// A container that was made (and with `run` has ended), for those who look at it.
    pub fn kept(&self, verb: &str, flags: &[&str]) -> String {
        let name = self.name();
        let mut args = vec![verb, "--name", &name];
        args.extend(flags);
        args.extend([IMAGE, "true"]);
        self.gantry.ok(&args);
        name
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.registry.take();
    }
}
