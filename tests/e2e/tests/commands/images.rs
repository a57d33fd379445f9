//! Commands that work on images and on the whole system, and the flags of the program itself.

use crate::stage::{Case, IMAGE, LIMIT, Stage, UP, bad, good};
use gantry_e2e::{busybox_tar, eventually};

const BOOL: &str = "strconv.ParseBool: parsing \"x\": invalid syntax";
const OPEN: &str = "unclosed action";
const NONE: &str = "No such image: nope:latest";

pub fn cases() -> Vec<Case> {
    let mut cases = listing();
    cases.extend(moves());
    cases.extend(pull());
    cases.extend(system());
    cases.extend(global());
    cases
}

fn is(stage: &Stage, args: &[&str], expected: &str) {
    assert_eq!(stage.gantry.ok(args), expected, "{args:?}");
}

/// An image of the case's own, from busybox's files.
fn imported(stage: &Stage, flags: &[&str]) -> String {
    let (name, mut args) = (format!("{}:made", stage.name()), vec!["import"]);
    args.extend(flags);
    args.extend(["-", &name]);
    stage.gantry.feed(&args, busybox_tar()).exits(0);
    name
}

fn id(stage: &Stage, image: &str) -> String {
    stage.gantry.ok(&["image", "inspect", "-f", "{{.Id}}", image])
}

fn absent(stage: &Stage, image: &str) {
    stage
        .gantry
        .run(&["image", "inspect", image])
        .exits(1)
        .says("No such image");
}

fn listing() -> Vec<Case> {
    vec![
        good("images", "", |s| {
            let table = s.gantry.ok(&["images"]);
            assert!(table.starts_with("REPOSITORY") && table.contains("busybox"), "{table}");
        }),
        bad("images", "", &["images", "a", "b"], 1, "requires at most 1 argument"),
        good("images", "all", |s| {
            assert!(s.gantry.ok(&["images", "-a", IMAGE]).contains("busybox"))
        }),
        bad("images", "all", &["images", "-a=x"], 125, BOOL),
        good("images", "digests", |s| {
            assert!(s.gantry.ok(&["images", "--digests", IMAGE]).contains("DIGEST"));
            assert!(!s.gantry.ok(&["images", IMAGE]).contains("DIGEST"));
        }),
        bad("images", "digests", &["images", "--digests=x"], 125, BOOL),
        good("images", "filter", |s| {
            let args = ["images", "--filter", "reference=busy*", "--format", "{{.Repository}}"];
            is(s, &args, "busybox");
        }),
        bad(
            "images",
            "filter",
            &["images", "--filter", "zz=1"],
            1,
            "invalid filter 'zz'",
        ),
        good("images", "format", |s| {
            is(
                s,
                &["images", "--format", "{{.Repository}}|{{.Tag}}", IMAGE],
                "busybox|latest",
            )
        }),
        bad("images", "format", &["images", "--format", "{{"], 1, OPEN),
        good("images", "no-trunc", |s| {
            is(s, &["images", "--no-trunc", "-q", IMAGE], &id(s, IMAGE))
        }),
        bad("images", "no-trunc", &["images", "--no-trunc=x"], 125, BOOL),
        good("images", "quiet", |s| {
            is(s, &["images", "-q", IMAGE], &id(s, IMAGE)[7..19])
        }),
        bad("images", "quiet", &["images", "-q=x"], 125, BOOL),
        good("history", "", |s| {
            assert!(s.gantry.ok(&["history", IMAGE]).contains("Imported from -"));
        }),
        bad("history", "", &["history", "nope"], 1, NONE),
        good("history", "format", |s| {
            is(
                s,
                &["history", "--format", "<{{.Comment}}>", IMAGE],
                "<Imported from ->",
            )
        }),
        bad("history", "format", &["history", "--format", "{{", IMAGE], 1, OPEN),
        good("history", "human", |s| {
            assert!(s.gantry.ok(&["history", IMAGE]).contains("MB"));
            assert!(!s.gantry.ok(&["history", "-H=false", IMAGE]).contains("MB"));
        }),
        bad("history", "human", &["history", "-H=x", IMAGE], 125, BOOL),
        good("history", "no-trunc", |s| {
            assert!(s.gantry.ok(&["history", "--no-trunc", IMAGE]).contains(&id(s, IMAGE)))
        }),
        bad("history", "no-trunc", &["history", "--no-trunc=x", IMAGE], 125, BOOL),
        good("history", "quiet", |s| {
            is(s, &["history", "-q", IMAGE], &id(s, IMAGE)[7..19])
        }),
        bad("history", "quiet", &["history", "-q=x", IMAGE], 125, BOOL),
        good("image inspect", "", |s| {
            assert!(s.gantry.ok(&["image", "inspect", IMAGE]).contains("busybox:latest"))
        }),
        bad(
            "image inspect",
            "",
            &["image", "inspect", UP],
            1,
            "No such image: up-right",
        ),
        good("image inspect", "format", |s| {
            is(s, &["image", "inspect", "-f", "{{.Os}}", IMAGE], "linux")
        }),
        bad(
            "image inspect",
            "format",
            &["image", "inspect", "-f", "{{", IMAGE],
            1,
            OPEN,
        ),
    ]
}

fn moves() -> Vec<Case> {
    vec![
        good("import", "", |s| {
            let _turn = s.alone();
            let image = imported(s, &[]);
            is(s, &["run", "--rm", &image, "/bin/echo", "from it"], "from it");
            s.gantry.ok(&["rmi", &image]);
        }),
        bad("import", "", &["import", "/nope", "x"], 1, "open /nope: no such file"),
        good("import", "change", |s| {
            let _turn = s.alone();
            let image = imported(s, &["-c", "ENV A=b", "-c", "CMD [\"sh\", \"-c\", \"echo $A\"]"]);
            is(s, &["run", "--rm", &image], "b");
            s.gantry.ok(&["rmi", &image]);
        }),
        bad(
            "import",
            "change",
            &["import", "-c", "NOPE x", "{taken}"],
            1,
            "NOPE is not a valid change command",
        ),
        good("import", "message", |s| {
            let _turn = s.alone();
            let image = imported(s, &["-m", "a word"]);
            is(s, &["history", "--format", "{{.Comment}}", &image], "a word");
            s.gantry.ok(&["rmi", &image]);
        }),
        bad(
            "import",
            "message",
            &["import", "--message"],
            125,
            "flag needs an argument: --message",
        ),
        good("import", "platform", |s| {
            let _turn = s.alone();
            let image = imported(s, &["--platform", "linux/arm64"]);
            is(s, &["image", "inspect", "-f", "{{.Architecture}}", &image], "arm64");
            s.gantry.ok(&["rmi", &image]);
        }),
        bad(
            "import",
            "platform",
            &["import", "--platform", "a/b/c/d", "{taken}"],
            1,
            "invalid platform",
        ),
        good("save", "", |s| {
            let tar = s.gantry.run(&["save", IMAGE]).exits(0).bytes;
            assert_eq!(&tar[257..262], b"ustar");
        }),
        bad("save", "", &["save", "nope"], 1, NONE),
        good("save", "output", |s| {
            let path = s.file("saved.tar", "");
            is(s, &["save", "-o", &path, IMAGE], "");
            assert_eq!(&std::fs::read(path).expect("an archive")[257..262], b"ustar");
        }),
        bad("save", "output", &["save", "-o", "/nope/x", IMAGE], 1, "/nope"),
        good("load", "", |s| {
            let _turn = s.alone();
            let (image, tar) = saved(s);
            let loaded = s.gantry.feed(&["load"], &tar).exits(0);
            assert!(
                loaded.stdout.contains(&format!("Loaded image: {image}")),
                "{}",
                loaded.stdout
            );
            s.gantry.ok(&["rmi", &image]);
        }),
        bad("load", "", &["load", "-i", "{taken}"], 1, "unrecognized archive"),
        good("load", "input", |s| {
            let _turn = s.alone();
            let (image, tar) = saved(s);
            let path = s.path(&s.name());
            std::fs::write(&path, tar).expect("an archive");
            s.gantry.ok(&["load", "-i", path.to_str().expect("ASCII")]);
            is(s, &["run", "--rm", &image, "echo", "loaded"], "loaded");
            s.gantry.ok(&["rmi", &image]);
        }),
        bad("load", "input", &["load", "-i", "/nope"], 1, "open /nope: no such file"),
        good("load", "quiet", |s| {
            let _turn = s.alone();
            let (image, tar) = saved(s);
            let loaded = s.gantry.feed(&["load", "-q"], &tar).exits(0);
            assert_eq!(
                (loaded.line(), loaded.stderr.as_str()),
                (format!("Loaded image: {image}").as_str(), "")
            );
            s.gantry.ok(&["rmi", &image]);
        }),
        bad("load", "quiet", &["load", "-q=x"], 125, BOOL),
        good("tag", "", |s| {
            let name = format!("{}:t", s.name());
            s.gantry.ok(&["tag", IMAGE, &name]);
            assert_eq!(id(s, &name), id(s, IMAGE));
            s.gantry.ok(&["rmi", &name]);
        }),
        bad("tag", "", &["tag", "nope", "a:b"], 1, NONE),
        good("rmi", "", |s| {
            let _turn = s.alone();
            let image = imported(s, &[]);
            let said = s.gantry.ok(&["rmi", &image]);
            assert!(
                said.starts_with(&format!("Untagged: {image}\nDeleted: sha256:")),
                "{said}"
            );
            absent(s, &image);
        }),
        bad("rmi", "", &["rmi", "nope"], 1, NONE),
        good("rmi", "force", |s| {
            let _turn = s.alone();
            let image = imported(s, &[]);
            let name = s.name();
            s.gantry.ok(&["create", "--name", &name, &image, "true"]);
            s.gantry.run(&["rmi", &image]).exits(1).says("must be forced");
            s.gantry.ok(&["rmi", "-f", &image]);
            absent(s, &image);
            s.gone(&name);
        }),
        bad("rmi", "force", &["rmi", "-f=x", IMAGE], 125, BOOL),
        good("rmi", "no-prune", |s| {
            let _turn = s.alone();
            let image = imported(s, &[]);
            let said = s.gantry.ok(&["rmi", "--no-prune", &image]);
            assert!(said.starts_with(&format!("Untagged: {image}")), "{said}");
            absent(s, &image);
        }),
        bad("rmi", "no-prune", &["rmi", "--no-prune", "nope"], 1, NONE),
    ]
}

/// An archive of an image that is not there any more.
fn saved(stage: &Stage) -> (String, Vec<u8>) {
    let name = imported(stage, &["-m", &stage.name()]);
    let tar = stage.gantry.run(&["save", &name]).exits(0).bytes;
    stage.gantry.ok(&["rmi", &name]);
    (name, tar)
}

fn pull() -> Vec<Case> {
    vec![
        good("pull", "", |s| {
            let _turn = s.alone();
            let image = s.registry().image("box:one");
            // Another case, that pulls all tags, may have been first.
            s.gantry.run(&["rmi", &image]);
            let said = s.gantry.ok(&["pull", &image]);
            let lines: Vec<&str> = said.lines().collect();
            let [from, .., digest, status, name] = lines[..] else {
                panic!("{said}");
            };
            assert_eq!(from, "one: Pulling from box");
            assert!(digest.starts_with("Digest: sha256:"), "{said}");
            assert_eq!(status, format!("Status: Downloaded newer image for {image}"));
            assert_eq!(name, image);
            let again = s.gantry.ok(&["pull", &image]);
            let end = format!("{digest}\nStatus: Image is up to date for {image}\n{image}");
            assert!(again.ends_with(&end), "{again}");
            let exact = format!("{}@{}", s.registry().image("box"), &digest["Digest: ".len()..]);
            let said = s.gantry.ok(&["pull", &exact]);
            assert!(said.starts_with(&format!("{exact}: Pulling from box\n")), "{said}");
            is(s, &["run", "--rm", &image, "echo", "pulled"], "pulled");
        }),
        bad("pull", "", &["pull", "UPPER"], 1, "repository name must be lowercase"),
        good("pull", "all-tags", |s| {
            let _turn = s.alone();
            let repository = s.registry().image("box");
            let said = s.gantry.ok(&["pull", "-a", &repository]);
            assert_eq!(said.matches("Digest: sha256:").count(), 3, "{said}");
            assert!(said.ends_with(&format!(" for {repository}\n{repository}")), "{said}");
            let tags = s.gantry.ok(&["images", "--format", "{{.Tag}}", &repository]);
            assert!(tags.contains("one") && tags.contains("two"), "{tags}");
        }),
        bad(
            "pull",
            "all-tags",
            &["pull", "-a", "127.0.0.1:1/none:tag"],
            1,
            "tag can't be used with --all-tags",
        ),
        good("pull", "platform", |s| {
            let _turn = s.alone();
            let image = s.registry().image("box:two");
            s.gantry.ok(&["pull", "--platform", "linux/amd64", &image]);
            is(s, &["image", "inspect", "-f", "{{.Architecture}}", &image], "amd64");
        }),
        bad(
            "pull",
            "platform",
            &["pull", "--platform", "a/b/c/d", "127.0.0.1:1/none"],
            1,
            "invalid platform",
        ),
        good("pull", "quiet", |s| {
            let _turn = s.alone();
            let image = s.registry().image("box:latest");
            let output = s.gantry.run(&["pull", "-q", &image]).exits(0);
            assert_eq!((output.line(), output.stderr.as_str()), (image.as_str(), ""));
        }),
        bad(
            "pull",
            "quiet",
            &["pull", "-q", "127.0.0.1:1/none"],
            1,
            "Connection refused",
        ),
    ]
}

fn system() -> Vec<Case> {
    vec![
        good("events", "", |s| {
            let mut client = s.gantry.spawn(s.gantry.command(["events"]));
            let out = client.stdout.take().expect("piped");
            let reader = std::thread::spawn(move || {
                use std::io::BufRead;
                let mut lines = std::io::BufReader::new(out).lines().map_while(Result::ok);
                lines.any(|line| line.contains(" container create "))
            });
            eventually("an event is told", LIMIT, || {
                let name = s.kept("create", &[]);
                s.gone(&name);
                reader.is_finished()
            });
            assert!(reader.join().expect("the reader ends"));
            client.kill().expect("it goes on");
            client.wait().expect("it ends");
        }),
        bad("events", "", &["events", "more"], 1, "accepts no arguments"),
        good("events", "filter", |s| {
            let args = [
                "events",
                "--since",
                "1h",
                "--until",
                "0s",
                "--filter",
                "event=create",
                "--filter",
            ];
            let of = format!("container={UP}");
            let mut args = args.to_vec();
            args.push(&of);
            let told = s.gantry.ok(&args);
            assert!(told.lines().count() == 1 && told.contains("container create"), "{told}");
        }),
        bad(
            "events",
            "filter",
            &["events", "--filter", "zz=1", "--until", "0s"],
            1,
            "invalid filter 'zz'",
        ),
        good("events", "format", |s| {
            let of = format!("container={UP}");
            let args = [
                "events",
                "--since",
                "1h",
                "--until",
                "0s",
                "--filter",
                &of,
                "--filter",
                "event=create",
            ];
            let mut args = args.to_vec();
            args.extend(["--format", "<{{.Action}}>"]);
            is(s, &args, "<create>");
        }),
        bad(
            "events",
            "format",
            &["events", "--format", "{{", "--until", "0s"],
            1,
            OPEN,
        ),
        good("events", "since", |s| {
            let name = s.kept("create", &[]);
            let of = format!("container={name}");
            let told = s
                .gantry
                .ok(&["events", "--since", "1h", "--until", "0s", "--filter", &of]);
            assert!(told.contains("container create"), "{told}");
            is(s, &["events", "--since", "0s", "--until", "0s", "--filter", &of], "");
            // A bare 0 is the beginning of time.
            let told = s
                .gantry
                .ok(&["events", "--since", "0", "--until", "0s", "--filter", &of]);
            assert!(told.contains("container create"), "{told}");
            s.gone(&name);
        }),
        bad(
            "events",
            "since",
            &["events", "--since", "zz"],
            1,
            "failed to parse value as time or duration",
        ),
        good("events", "until", |s| {
            let of = format!("container={UP}");
            is(s, &["events", "--since", "2h", "--until", "1h", "--filter", &of], "");
            let told = s
                .gantry
                .ok(&["events", "--since", "2h", "--until", "0s", "--filter", &of]);
            assert!(told.contains("container start"), "{told}");
        }),
        bad(
            "events",
            "until",
            &["events", "--until", "zz"],
            1,
            "failed to parse value as time or duration",
        ),
        good("info", "", |s| {
            assert!(s.gantry.ok(&["info"]).contains("Storage Driver: "))
        }),
        bad(
            "info",
            "",
            &["-H", "unix:///nope", "info"],
            1,
            "Cannot connect to the gantry daemon",
        ),
        good("info", "format", |s| is(s, &["info", "-f", "<{{.OSType}}>"], "<linux>")),
        bad("info", "format", &["info", "-f", "{{"], 1, OPEN),
        good("version", "", |s| {
            assert!(s.gantry.ok(&["version"]).contains("Server:"))
        }),
        bad("version", "", &["version", "more"], 1, "accepts no arguments"),
        good("version", "format", |s| {
            let both = s
                .gantry
                .ok(&["version", "-f", "{{.Client.Version}} {{.Server.Version}}"]);
            let (client, server) = both.split_once(' ').expect("two versions");
            assert!(!client.is_empty() && client == server, "{both}");
            let commit = s.gantry.ok(&["version", "-f", "{{.Server.GitCommit}}"]);
            assert!(commit.bytes().all(|digit| digit.is_ascii_hexdigit()), "{commit}");
            let page = s.gantry.ok(&["version"]);
            assert_eq!(page.contains("Git commit:"), !commit.is_empty(), "{page}");
        }),
        bad("version", "format", &["version", "-f", "{{"], 1, OPEN),
    ]
}

fn global() -> Vec<Case> {
    vec![
        good("", "help", |s| {
            assert!(s.gantry.ok(&["--help"]).contains("Common Commands:"))
        }),
        bad("", "help", &["--help=x"], 125, BOOL),
        good("", "version", |s| {
            assert!(s.gantry.ok(&["-v"]).starts_with("gantry version "))
        }),
        bad("", "version", &["--version=x"], 125, BOOL),
        good("", "host", |s| {
            let host = format!("unix://{}", s.gantry.socket().display());
            let mut command = s.gantry.command(["-H", &host, "ps", "-q"]);
            command.env("GANTRY_HOST", "unix:///nope");
            s.gantry.finish(command).exits(0);
        }),
        bad(
            "",
            "host",
            &["-H", "unix:///nope", "ps"],
            1,
            "Cannot connect to the gantry daemon at unix:///nope",
        ),
        good("", "debug", |s| {
            let output = s.gantry.run(&["-D", "ps"]).exits(0);
            assert!(output.stdout.contains("CONTAINER ID"));
            output.says("gantry.v1.Containers/List");
        }),
        bad("", "debug", &["-D=x", "ps"], 125, BOOL),
        good("", "log-level", |s| {
            s.gantry
                .run(&["-l", "debug", "ps"])
                .exits(0)
                .says("gantry.v1.Containers/List");
            assert_eq!(s.gantry.run(&["-l", "warning", "ps"]).exits(0).stderr, "");
        }),
        bad(
            "",
            "log-level",
            &["-l", "loud", "ps"],
            1,
            "Unable to parse logging level: loud",
        ),
        bad(
            "",
            "log-level",
            &["--log-level"],
            125,
            "flag needs an argument: --log-level",
        ),
    ]
}
