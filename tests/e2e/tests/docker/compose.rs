//! Debian's docker-compose 1.29.2, a plain client of the API: a project of three services on two networks, with volumes, an order of
//! start that waits for health, and files of environment. The same lines against both daemons, and then what is in the engine.

use crate::alike::Answer;
use crate::sides::{IMAGE, Side, Sides};
use gantry_e2e::peers::Registry;
use gantry_e2e::{PATIENCE, Terminal, ended, eventually};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Each service ends at once when it is told to. `store` is well only when it has written; `api` says what it finds then.
const PROJECT: &str = r#"
version: "2.4"
services:
  store:
    image: busybox:latest
    command: ["sh", "-c", "trap 'exit 0' TERM; echo opening; httpd -p 80 -h /data; sleep 2; echo kept > /data/began; sleep 1000000 & wait"]
    healthcheck:
      test: ["CMD", "grep", "-q", "kept", "/data/began"]
      interval: 1s
      timeout: 60s
      retries: 1000
    volumes: ["data:/data"]
    networks:
      back:
        aliases: [db.internal]
  api:
    image: busybox:latest
    depends_on:
      store:
        condition: service_healthy
    env_file: app.env
    environment:
      STAGE: "${STAGE}"
    command: ["sh", "-c", "trap 'exit 0' TERM; cat /data/began /conf/app.conf; echo $$GREETING from $$STAGE; sleep 1000000 & wait"]
    volumes: ["data:/data:ro", "./conf:/conf:ro", "scratch:/scratch", "/cache"]
    networks: [front, back]
    labels:
      org.example.tier: middle
  web:
    image: busybox:latest
    depends_on: [api]
    command: ["sh", "-c", "trap 'exit 0' TERM; httpd -p 80 -h /etc; sleep 1000000 & wait"]
    ports: ["8080:80", "127.0.0.1:8443:443/tcp"]
    restart: unless-stopped
    stop_grace_period: 50s
    networks:
      front:
        aliases: [www]
networks:
  front: {}
  back:
    internal: true
volumes:
  data: {}
  scratch:
    labels: [org.example.kept=no]
"#;

/// `second` ends when `first` has spoken.
const ONCE: &str = r#"
version: "2.4"
services:
  first:
    image: busybox:latest
    command: ["sh", "-c", "trap 'exit 0' TERM; echo one; touch /tmp/said; sleep 1000000 & wait"]
    healthcheck:
      test: ["CMD", "test", "-e", "/tmp/said"]
      interval: 1s
      timeout: 60s
      retries: 1000
  second:
    image: busybox:latest
    depends_on:
      first:
        condition: service_healthy
    command: ["sh", "-c", "echo two; exit 7"]
"#;

const LAST_LINE: &str = "from trial";

fn project(side: &Side) -> PathBuf {
    side.home().join("demo")
}

/// A line that takes longer than five minutes hangs.
fn compose(side: &Side, args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["300", "docker-compose"]).args(args);
    command
        .env("DOCKER_HOST", format!("unix://{}", side.socket.display()))
        .env("HOME", side.home())
        .env_remove("DOCKER_CONFIG")
        .current_dir(project(side))
        .stdin(Stdio::null());
    command
}

fn run(side: &Side, args: &[&str]) -> Answer {
    Answer::of(
        &compose(side, args)
            .output()
            .expect("docker-compose, of Debian's package, starts"),
    )
}

/// Lines have no order, for services are worked on at once; columns are as wide as what is in them; and dockerd publishes on IPv6
/// what has no IPv6 address.
fn plain(mut answer: Answer) -> Answer {
    for text in [&mut answer.stdout, &mut answer.stderr] {
        let mut lines: Vec<String> = text.lines().map(words).filter(|line| !line.is_empty()).collect();
        lines.sort_unstable();
        *text = lines.join("\n");
    }
    answer
}

fn words(line: &str) -> String {
    let line = line.replace(",:::8080->80/tcp", "");
    if let Some(names) = line.strip_prefix("Attaching to ") {
        let mut names: Vec<&str> = names.split(", ").collect();
        names.sort_unstable();
        return format!("Attaching to {}", names.join(", "));
    }
    let words: Vec<&str> = line
        .split_whitespace()
        .filter(|word| !word.trim_matches('-').is_empty())
        .collect();
    words.join(" ")
}

/// Of a table of processes, what they run.
fn processes(mut answer: Answer) -> Answer {
    let command = |line: &str| line.split_whitespace().skip(7).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = answer.stdout.lines().map(command).collect();
    lines.sort_unstable();
    answer.stdout = lines.join("\n");
    answer
}

struct Stage(Sides);

impl Stage {
    fn new(files: &[(&str, &str)]) -> Self {
        let sides = Sides::new();
        for side in [&sides.ours, &sides.theirs] {
            std::fs::create_dir_all(project(side).join("conf")).expect("a directory");
            for (name, text) in files {
                std::fs::write(project(side).join(name), text).expect("a file");
            }
        }
        Self(sides)
    }

    fn whole() -> Self {
        Self::new(&[
            ("docker-compose.yml", PROJECT),
            (".env", "STAGE=trial\n"),
            ("app.env", "GREETING=hello\n"),
            ("conf/app.conf", "conf=yes\n"),
        ])
    }

    /// Exit code, stdout and stderr are the same.
    #[track_caller]
    fn same(&self, args: &[&str]) {
        self.0.compare(args, |side| plain(run(side, args)));
    }

    /// The same for both, whose words differ.
    #[track_caller]
    fn code(&self, args: &[&str]) {
        self.0.compare(args, |side| run(side, args).code_only());
    }

    fn each(&self) -> [&Side; 2] {
        [&self.0.ours, &self.0.theirs]
    }

    /// Waits until a container has written so.
    fn written(&self, container: &str, text: &str) {
        for side in self.each() {
            eventually(&format!("{container} writes {text:?}"), PATIENCE, || {
                Answer::of(&side.run(&["logs", container])).stdout.contains(text)
            });
        }
    }

    /// What the engine has of the project, by its own client.
    #[track_caller]
    fn engine(&self, args: &[&str], lines: &[&str]) {
        let shown = self.0.house.gantry().ok(args);
        let mut shown: Vec<&str> = shown.lines().collect();
        shown.sort_unstable();
        assert_eq!(shown, lines, "gantry {args:?}");
    }

    fn nothing_is_left(&self) {
        self.engine(&["ps", "-aq"], &[]);
        self.engine(&["volume", "ls", "-q", "-f", "name=demo_"], &[]);
        // Where compose forgets one without a name, it forgets it on both.
        self.0.compare(&["volume ls -q"], |side| {
            let mut volumes = Answer::of(&side.run(&["volume", "ls", "-q"]));
            volumes.stdout = volumes.stdout.lines().count().to_string();
            volumes
        });
        self.engine(&["network", "ls", "-q", "-f", "type=custom"], &[]);
    }
}

#[test]
fn a_project_lives_alike() {
    let s = &Stage::whole();
    s.same(&["config"]);
    s.same(&["config", "--services"]);
    s.same(&["config", "--volumes"]);
    s.same(&["up", "-d"]);
    s.same(&["ps"]);
    s.same(&["ps", "--services", "--filter", "status=running"]);
    s.engine(
        &["ps", "--format", "{{.Names}}"],
        &["demo_api_1", "demo_store_1", "demo_web_1"],
    );
    s.engine(
        &["volume", "ls", "-q", "-f", "label=org.example.kept=no"],
        &["demo_scratch"],
    );
    s.engine(
        &[
            "network",
            "ls",
            "-f",
            "type=custom",
            "--format",
            "{{.Name}} {{.Internal}}",
        ],
        &["demo_back true", "demo_front false"],
    );
    s.written("demo_api_1", LAST_LINE);
    s.same(&["logs", "--no-color"]);
    s.same(&["logs", "--no-color", "--tail=1", "api"]);
    s.same(&["exec", "-T", "api", "cat", "/data/began"]);
    s.same(&["exec", "-T", "api", "sh", "-c", "touch /data/x; touch /conf/x; exit 5"]);
    s.same(&[
        "exec",
        "-T",
        "api",
        "sh",
        "-c",
        "nslookup -type=a db.internal | grep Address: | tail -n 1",
    ]);
    s.same(&["exec", "-T", "web", "sh", "-c", "nslookup store | grep -c NXDOMAIN"]);
    s.same(&[
        "exec",
        "-T",
        "-e",
        "MORE=1",
        "-u",
        "app",
        "-w",
        "/tmp",
        "api",
        "sh",
        "-c",
        "id -un; pwd; echo $MORE",
    ]);
    s.0.compare(&["compose exec on a terminal"], |side| {
        let command = compose(
            side,
            &["exec", "api", "sh", "-c", "tty >/dev/null && echo terminal; exit 4"],
        );
        let mut terminal = Terminal::spawn(command, 30, 100);
        let code = terminal.exit(PATIENCE);
        Answer {
            code,
            stdout: terminal.rest(PATIENCE),
            stderr: String::new(),
        }
    });
    // Not of the one whose health is checked: the check is a process, too.
    s.0.compare(&["compose top"], |side| processes(run(side, &["top", "api", "web"])));
    s.same(&["port", "web", "80"]);
    s.same(&["port", "web", "443"]);
    s.code(&["images"]);
    let served =
        s.0.house
            .netns()
            .ok("busybox wget -q -O - http://127.0.0.1:8080/passwd");
    assert!(served.contains("root:x:0:0"), "{served}");
    s.same(&["down", "-v"]);
    s.nothing_is_left();
    s.same(&["ps"]);
}

#[test]
fn services_are_scaled_and_stopped_alike() {
    let s = &Stage::whole();
    s.same(&["up", "--no-start"]);
    s.same(&["ps"]);
    s.same(&["up", "-d", "--scale", "api=3"]);
    s.engine(
        &[
            "ps",
            "-f",
            "label=com.docker.compose.service=api",
            "--format",
            "{{.Names}}",
        ],
        &["demo_api_1", "demo_api_2", "demo_api_3"],
    );
    s.same(&["scale", "api=2"]);
    s.same(&["restart", "api"]);
    s.same(&["stop", "web"]);
    s.same(&["ps"]);
    s.same(&["start", "web"]);
    s.same(&["pause", "api"]);
    s.same(&["ps", "api"]);
    s.same(&["unpause", "api"]);
    s.same(&["run", "--rm", "api", "env"]);
    s.same(&[
        "run",
        "--rm",
        "-T",
        "--no-deps",
        "-e",
        "MORE=1",
        "api",
        "sh",
        "-c",
        "echo $MORE $GREETING; exit 5",
    ]);
    s.engine(&["ps", "-aq", "-f", "name=_run_"], &[]);
    s.same(&["kill", "-s", "KILL", "web"]);
    s.same(&["rm", "-f", "web"]);
    s.same(&["rm", "-f", "-s", "-v", "api"]);
    s.same(&["up", "-d"]);
    s.same(&["up", "-d"]);
    s.same(&["up", "-d", "nothing"]);
    s.same(&["exec", "-T", "nothing", "true"]);
    s.code(&["pull", "store"]);
    s.code(&["pull", "--ignore-pull-failures", "store"]);
    s.same(&["stop"]);
    s.same(&["down", "-v"]);
    s.nothing_is_left();
}

/// What compose makes anew keeps the volumes it had, those without a name too.
#[test]
fn a_changed_project_is_made_anew() {
    let s = &Stage::whole();
    s.same(&["up", "-d"]);
    s.same(&["exec", "-T", "api", "touch", "/cache/mark", "/scratch/mark"]);
    for side in s.each() {
        std::fs::write(project(side).join("app.env"), "GREETING=goodbye\n").expect("a file");
    }
    s.same(&["up", "-d"]);
    s.written("demo_api_1", LAST_LINE);
    s.same(&["logs", "--no-color", "api"]);
    s.same(&["exec", "-T", "api", "ls", "/cache", "/scratch"]);
    s.same(&["up", "-d", "--force-recreate", "--no-deps", "web"]);
    s.same(&["ps"]);
    s.same(&["down"]);
    s.engine(
        &["volume", "ls", "-q", "-f", "name=demo_"],
        &["demo_data", "demo_scratch"],
    );
    s.same(&["up", "-d", "--no-deps", "store"]);
    s.same(&["down", "-v", "--remove-orphans"]);
    for side in s.each() {
        side.run(&["volume", "prune", "-f"]);
    }
}

/// The events of a service that is run again, in their order.
#[test]
fn events_are_told_alike() {
    let s = &Stage::whole();
    s.same(&["up", "-d"]);
    s.0.compare(&["compose events"], |side| {
        let path = project(side).join("events");
        let mut command = compose(side, &["events", "--json"]);
        command.stdout(File::create(&path).expect("a file"));
        let mut told = command.spawn().expect("docker-compose starts");
        let said = |text: &str| {
            eventually(&format!("{text} is told"), PATIENCE, || {
                std::fs::read_to_string(&path).is_ok_and(|told| told.contains(text))
            });
        };
        // The check of health is told of every second: the stream is open.
        said("exec_die");
        let done = run(side, &["restart", "web"]);
        said("\"action\": \"restart\"");
        told.kill().expect("docker-compose can be killed");
        ended(&mut told);
        let told = std::fs::read_to_string(&path).expect("a file");
        let of_web = told.lines().filter_map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            let action = event["action"].as_str()?;
            (event["service"] == "web").then(|| action.to_owned())
        });
        Answer {
            stdout: of_web.collect::<Vec<_>>().join(" "),
            ..done
        }
    });
    s.same(&["down", "-v"]);
    s.nothing_is_left();
}

#[test]
fn a_project_in_the_foreground_ends_with_its_first() {
    let s = &Stage::new(&[("docker-compose.yml", ONCE)]);
    // It attaches to what it does not start.
    s.same(&["up", "--no-start"]);
    s.same(&["ps"]);
    s.same(&["down"]);
    s.same(&[
        "up",
        "--no-color",
        "--abort-on-container-exit",
        "--exit-code-from",
        "second",
    ]);
    s.same(&["ps"]);
    s.same(&["down"]);
    s.nothing_is_left();
}

/// Images of a project come from a registry.
#[test]
fn images_are_pulled() {
    let s = &Stage::new(&[]);
    let registry = Registry::inside(s.0.house.netns(), s.0.house.root(), "127.0.0.1:5000");
    let saved = s.0.path("busybox.tar");
    registry.fill(s.0.house.netns(), &saved, "trial/busybox:latest");
    let text = "version: \"2.4\"\nservices:\n  one:\n    image: 127.0.0.1:5000/trial/busybox:latest\n    command: echo pulled\n";
    std::fs::write(project(&s.0.ours).join("docker-compose.yml"), text).expect("a file");
    let pulled = run(&s.0.ours, &["pull"]);
    assert_eq!(pulled.code, 0, "{}", pulled.stderr);
    let up = run(&s.0.ours, &["up", "--no-color"]);
    assert_eq!(up.code, 0, "{}", up.stderr);
    assert!(up.stdout.contains("pulled"), "{}", up.stdout);
    let ids = |name: &str| s.0.house.gantry().ok(&["image", "inspect", "-f", "{{.Id}}", name]);
    assert_eq!(ids("127.0.0.1:5000/trial/busybox"), ids(IMAGE));
    assert_eq!(run(&s.0.ours, &["down"]).code, 0);
}
