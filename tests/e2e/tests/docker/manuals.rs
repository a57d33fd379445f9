//! `docs/manuals.md`: every `docker` command of the five manuals, run as its row says, and answered so.

mod scripts;

use gantry_e2e::netns::WIRE;
use gantry_e2e::peers::Registry;
use gantry_e2e::{House, HouseOptions, Netns, Output, PATIENCE, Terminal, busybox_tar, program};
use scripts::{BEFORE, PROGRAMS, STAND_INS, TYPED};
use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TABLE: &str = include_str!("../../../../docs/manuals.md");
/// Where manual 000 has its registry.
const REGISTRY: &str = "192.168.1.110:5000";

#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Works,
    Waits,
    Client,
}

/// A row of the table.
#[derive(Debug)]
struct Row {
    at: String,
    standing: Standing,
    line: String,
    answers: Vec<String>,
}

/// Cells of a row; a bar within one is written `\|`.
fn cells(line: &str) -> Vec<String> {
    let text = line.replace("\\|", "\u{0}");
    let inner = text.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn row(line: &str) -> Row {
    let cells = cells(line);
    let [at, printed, standing, run_as, answer] = cells.as_slice() else {
        panic!("five cells: {line}");
    };
    let standing = match standing.as_str() {
        "works" => Standing::Works,
        "client" => Standing::Client,
        waits if waits.starts_with("waits: ") => Standing::Waits,
        other => panic!("{at}: {other:?} is no standing"),
    };
    let lines = quoted(if run_as.is_empty() { printed } else { run_as });
    assert_eq!(lines.len(), 1, "{at}: one command: {lines:?}");
    let answers = quoted(answer);
    let wanted = if standing == Standing::Client { 2..=2 } else { 1..=2 };
    assert!(wanted.contains(&answers.len()), "{at}: an answer: {answers:?}");
    Row {
        at: at.split(' ').next().unwrap_or_default().to_owned(),
        standing,
        line: lines[0].clone(),
        answers,
    }
}

fn rows(manual: &str) -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| line.starts_with("| 0"));
    let rows = lines.map(row).filter(|row| row.at.starts_with(manual));
    let rows: Vec<Row> = rows.collect();
    assert!(rows.len() > 5, "manual {manual} has rows");
    rows
}

/// What is prepared and typed is for rows that are there, and each row is there once.
#[test]
fn the_table_is_whole() {
    let mut all: Vec<String> = ["000", "002", "003", "004"]
        .iter()
        .flat_map(|manual| rows(manual))
        .map(|row| row.at)
        .collect();
    let lines = TABLE.lines().filter(|line| line.starts_with("| 0")).count();
    assert_eq!(all.len(), lines, "every row belongs to a manual");
    for at in BEFORE.iter().map(|(at, _)| at).chain(TYPED.iter().map(|(at, _)| at)) {
        assert!(all.iter().any(|known| known == at), "{at} is in the table");
    }
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count, "each row once");
}

/// A daemon, the stand-ins, and the directory that the rows are run in.
struct Stage {
    house: House,
    registry: Registry,
    /// The host that the registry is on.
    beyond: Netns,
    /// Goes after the daemon.
    dir: TempDir,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("gantry-manuals-").tempdir();
        let dir = dir.expect("a directory");
        let socket = format!("unix://{}", dir.path().join("docker.sock").display());
        let flags = [
            "--insecure-registry",
            REGISTRY,
            "-H",
            &socket,
            "-H",
            "tcp://127.0.0.1:2375",
            "--tls=false",
        ];
        let house = House::with(HouseOptions {
            netns: true,
            bare: true,
            flags: flags.map(str::to_owned).to_vec(),
            ..HouseOptions::default()
        });
        // What the manuals' machines reach.
        let beyond = Netns::new();
        house.netns().cable(WIRE, &beyond, WIRE);
        house.netns().ip(&format!("addr add 192.168.1.1/24 dev {WIRE}"));
        house.netns().ip("addr add 8.8.8.8/32 dev lo");
        beyond.ip(&format!("addr add 192.168.1.110/24 dev {WIRE}"));
        let registry = Registry::inside(&beyond, dir.path(), REGISTRY);
        std::fs::create_dir(dir.path().join("home")).expect("a directory");
        std::fs::create_dir(dir.path().join("bin")).expect("a directory");
        for name in ["gantry", "gantryd"] {
            symlink(program(name), dir.path().join("bin").join(name)).expect("a link");
        }
        let stage = Self {
            house,
            registry,
            beyond,
            dir,
        };
        stage.fill();
        let archive = stage.dir.path().join("busybox.tar").display().to_string();
        stage.must(&format!("docker save -o {archive} busybox"));
        for name in ["library/busybox:latest", "busybox:latest"] {
            stage.registry.fill(&stage.beyond, &archive, name);
        }
        stage
    }

    /// Makes the images that are not there.
    fn fill(&self) {
        let tree = self.dir.path().join("tree");
        let files = PROGRAMS
            .iter()
            .map(|(path, script)| (*path, format!("#!/bin/sh\n{script}")));
        let pages = [
            ("usr/local/apache2/htdocs/index.html", "<h1>It works!</h1>\n".to_owned()),
            ("srv/index.html", "<h1>Welcome to nginx!</h1>\n".to_owned()),
            ("usr/share/nginx/html/50x.html", String::new()),
        ];
        for (path, text) in files.chain(pages) {
            let path = tree.join(path);
            std::fs::create_dir_all(path.parent().expect("it lies somewhere")).expect("a directory");
            std::fs::write(&path, text).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a program");
        }
        std::fs::write(self.dir.path().join("busybox-root.tar"), busybox_tar()).expect("a file");
        self.must("docker import ../busybox-root.tar root");
        self.must("docker create --name base root sh && docker cp ../tree/. base:/");
        for (name, changes) in STAND_INS {
            let changes: String = changes.iter().map(|change| format!(" -c '{change}'")).collect();
            self.must(&format!("docker commit{changes} base {name}"));
        }
        self.must("docker rm base && docker rmi root");
    }

    fn command(&self, line: &str) -> Command {
        let at = |name: &str| self.dir.path().join(name);
        let socket = at("docker.sock").display().to_string();
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        let mut command = Command::new("sh");
        command
            .args(["-c", &line.replace("/var/run/docker.sock", &socket)])
            .env("DOCKER_HOST", format!("unix://{socket}"))
            .env("GANTRY_HOST", format!("unix://{}", self.house.socket().display()))
            .env("HOME", at("home"))
            .env("DATA", self.house.data_root())
            .env("PATH", path_with(&at("bin")))
            // Where a builder is plugged in, it is another program's turn.
            .env("DOCKER_BUILDKIT", "0")
            .env_remove("DOCKER_API_VERSION")
            .env_remove("DOCKER_CONFIG")
            .current_dir(at("home"))
            .stdin(Stdio::null());
        self.house.netns().put(&mut command);
        command
    }

    fn run(&self, line: &str) -> Output {
        let output = self.command(line).output().expect("sh starts");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    #[track_caller]
    fn must(&self, line: &str) {
        let output = self.run(line);
        assert_eq!(output.code, 0, "{line}\n{}{}", output.stdout, output.stderr);
    }

    /// On a terminal: what is on the screen at the end, and the exit code.
    fn typed(&self, line: &str, typed: &[(&str, &str)]) -> Output {
        // A shell would keep a ctrl-C to itself.
        let line = format!("exec {}", line.strip_prefix("sudo ").unwrap_or(line));
        let mut terminal = Terminal::spawn(self.command(&line), 40, 120);
        for (after, text) in typed {
            terminal.expect(after, PATIENCE);
            terminal.send(text);
        }
        let code = terminal.exit(PATIENCE);
        let screen = terminal.rest(PATIENCE);
        Output {
            code,
            bytes: screen.clone().into_bytes(),
            stdout: screen,
            stderr: String::new(),
        }
    }

    /// What is asked of something that takes its time is asked again.
    fn works(&self, row: &Row) -> Output {
        if let Some((_, typed)) = TYPED.iter().find(|(at, _)| *at == row.at) {
            return self.typed(&row.line, typed);
        }
        let asks = ["docker logs", "docker ps", "docker inspect", "docker stats", "curl"];
        let line = row.line.strip_prefix("sudo ").unwrap_or(&row.line);
        let again = asks.iter().any(|head| line.starts_with(head)) && !line.contains("-X ");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.run(&row.line);
            if !again || shows(&output, &row.answers[0]) || Instant::now() > deadline {
                return output;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn play(&self, manual: &str) {
        for row in rows(manual) {
            // All images were removed.
            if row.at == "002:31" {
                self.fill();
            }
            if let Some((_, line)) = BEFORE.iter().find(|(at, _)| *at == row.at) {
                self.must(line);
            }
            let check = |output: &Output, good: bool, answer: &str| {
                assert!(
                    (output.code == 0) == good && shows(output, answer),
                    "{}: {}: wanted {answer:?}, exit {}\nstdout: {}\nstderr: {}",
                    row.at,
                    row.line,
                    output.code,
                    output.stdout,
                    output.stderr
                );
            };
            match row.standing {
                Standing::Works => check(&self.works(&row), true, &row.answers[0]),
                Standing::Waits | Standing::Client => check(&self.run(&row.line), false, &row.answers[0]),
            }
            // By `gantry`, in place of docker's own client.
            if let Some(answer) = row.answers.get(1) {
                let line = row.line.replace("docker ", "gantry ");
                check(&self.run(&line), row.standing == Standing::Client, answer);
            }
        }
    }
}

/// PATH, and before it the directory.
fn path_with(dir: &Path) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(dir.to_owned()).chain(std::env::split_paths(&path));
    std::env::join_paths(dirs).expect("directories without colons")
}

fn shows(output: &Output, answer: &str) -> bool {
    let id = |line: &str| line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    match answer {
        "-" => output.stdout.trim().is_empty(),
        "<id>" => output.stdout.lines().any(id),
        text => [&output.stdout, &output.stderr].iter().any(|said| {
            let blanks = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            blanks(said).contains(&blanks(text))
        }),
    }
}

#[test]
fn manual_000() {
    Stage::new().play("000");
}

#[test]
fn manual_002() {
    Stage::new().play("002");
}

#[test]
fn manual_003() {
    Stage::new().play("003");
}

#[test]
fn manual_004() {
    Stage::new().play("004");
}
