use super::tree::verbs;
use super::{LevelFilter, Outcome, Parsed, parse};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn good(line: &str) -> Parsed {
    match parse(&words(line), None, 80) {
        Outcome::Run { parsed, .. } => parsed,
        Outcome::Print(text) => panic!("{line}: printed {text}"),
        Outcome::Fail(text, code) => panic!("{line}: {code} {text}"),
    }
}

fn bad(line: &str) -> (String, i32) {
    match parse(&words(line), None, 80) {
        Outcome::Fail(text, code) => (text.lines().next().unwrap_or_default().to_owned(), code),
        _ => panic!("{line} was taken"),
    }
}

#[test]
fn flags_of_run_end_at_the_image() {
    let run = good("run -itd --rm -e A=1 --env B=2 --memory=64m busybox sh -c -d --rm");
    assert!(run.on("interactive") && run.on("tty") && run.on("detach") && run.on("rm"));
    assert_eq!(run.all("env"), ["A=1", "B=2"]);
    assert_eq!(run.bytes("memory"), Some(64 << 20));
    assert_eq!(run.args, ["busybox", "sh", "-c", "-d", "--rm"]);
    let run = good("run --rm=false --sig-proxy=false --name -d x -- y");
    assert!(!run.on("rm") && !run.on("sig-proxy"));
    assert_eq!(run.text("name"), Some("-d"));
    assert_eq!(run.args, ["x", "--", "y"]);
    assert!(good("run x").on("sig-proxy"));
    assert_eq!(good("exec -it c ls -la").args, ["c", "ls", "-la"]);
    assert_eq!(good("top c -o pid").args, ["c", "-o", "pid"]);
    assert_eq!(good("run -- x").args, ["x"]);
}

#[test]
fn flags_of_others_may_stand_anywhere() {
    let rm = good("rm one -f two -v");
    assert!(rm.on("force") && rm.on("volumes"));
    assert_eq!(rm.args, ["one", "two"]);
    assert_eq!(good("stop -t -1 x").int("timeout"), Some(-1));
    assert_eq!(good("stop --time 3 x").int("timeout"), Some(3));
    assert_eq!(good("logs -f -n5 x").text("tail"), Some("5"));
    assert_eq!(good("cp - c:/").args, ["-", "c:/"]);
    assert_eq!(good("container ls -aq").path, "container ls");
    assert_eq!(good("-H unix:///x -D image ls").path, "image ls");
    assert_eq!(good("network list -q").path, "network list");
    assert_eq!(good("network rm -f a b").args, ["a", "b"]);
    assert_eq!(
        good("network create -d macvlan -o parent=eth0 web").all("opt"),
        ["parent=eth0"]
    );
}

#[test]
fn errors_and_codes_are_docker_s() {
    for (line, text, code) in [
        ("-l loud ps", "Unable to parse logging level: loud", 1),
        ("-l loud --version", "Unable to parse logging level: loud", 1),
        ("run --foo x", "unknown flag: --foo", 125),
        ("run -Zit x", "unknown shorthand flag: 'Z' in -Zit", 125),
        ("run -iZt x", "unknown shorthand flag: 'Z' in -Zt", 125),
        ("ps --foo", "unknown flag: --foo", 125),
        ("ps --foo=3", "unknown flag: --foo", 125),
        ("run", "gantry: 'gantry run' requires at least 1 argument", 1),
        ("ps x", "gantry: 'gantry ps' accepts no arguments", 1),
        ("logs a b", "gantry: 'gantry logs' requires 1 argument", 1),
        ("tag a", "gantry: 'gantry tag' requires 2 arguments", 1),
        (
            "port",
            "gantry: 'gantry port' requires at least 1 and at most 2 arguments",
            1,
        ),
        (
            "run -m abc x",
            "invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'",
            125,
        ),
        ("run --name", "flag needs an argument: --name", 125),
        ("run -e", "flag needs an argument: 'e' in -e", 125),
        (
            "run --rm=xx a",
            "invalid argument \"xx\" for \"--rm\" flag: strconv.ParseBool: parsing \"xx\": invalid syntax",
            125,
        ),
        (
            "stop -t x a",
            "invalid argument \"x\" for \"-t, --timeout\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            125,
        ),
        (
            "run --ulimit foo x",
            "invalid argument \"foo\" for \"--ulimit\" flag: invalid ulimit argument: foo",
            125,
        ),
        (
            "run --cpus x y",
            "invalid argument \"x\" for \"--cpus\" flag: failed to parse x as a rational number",
            125,
        ),
        (
            "run -a foo x",
            "invalid argument \"foo\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
            125,
        ),
        (
            "run -l = x",
            "invalid argument \"=\" for \"-l, --label\" flag: invalid label '=': empty name",
            125,
        ),
        ("container foo", "gantry: unknown command: gantry container foo", 1),
        ("ru", "gantry: unknown command: gantry ru", 1),
        (
            "run --network name=web,foo=1 x",
            "invalid argument \"name=web,foo=1\" for \"--network\" flag: invalid field key foo",
            125,
        ),
        (
            "run --add-host a x",
            "invalid argument \"a\" for \"--add-host\" flag: bad format for add-host: \"a\"",
            125,
        ),
        (
            "run --dns here x",
            "invalid argument \"here\" for \"--dns\" flag: IP address is not correctly formatted: here",
            125,
        ),
        (
            "run --dns-search - x",
            "invalid argument \"-\" for \"--dns-search\" flag: - is not a valid domain",
            125,
        ),
        (
            "run --link a:b:c x",
            "invalid argument \"a:b:c\" for \"--link\" flag: bad format for links: a:b:c",
            125,
        ),
        (
            "network create --scope swarm web",
            "gantry: flag --scope is refused: networks of a swarm are not built",
            1,
        ),
        (
            "network create",
            "gantry: 'gantry network create' requires 1 argument",
            1,
        ),
        (
            "network connect web",
            "gantry: 'gantry network connect' requires 2 arguments",
            1,
        ),
        (
            "network rm",
            "gantry: 'gantry network rm' requires at least 1 argument",
            1,
        ),
        ("network foo", "gantry: unknown command: gantry network foo", 1),
        (
            "run --gpus all x",
            "gantry: flag --gpus is refused: no driver of such devices is built; give their nodes by --device",
            125,
        ),
    ] {
        assert_eq!(bad(line), (text.to_owned(), code), "{line}");
    }
}

#[test]
fn levels() {
    let level = |line: &str| match parse(&words(line), None, 80) {
        Outcome::Run { level, .. } => level,
        _ => panic!("{line} was not taken"),
    };
    assert_eq!(level("ps"), LevelFilter::INFO);
    assert_eq!(level("-l Warning ps"), LevelFilter::WARN);
    assert_eq!(level("-D ps"), LevelFilter::DEBUG);
    assert_eq!(level("-D -l error ps"), LevelFilter::DEBUG);
    assert_eq!(level("-D --log-level=trace ps"), LevelFilter::TRACE);
    assert_eq!(level("-D=false ps"), LevelFilter::INFO);
}

#[test]
fn help_is_printed_wherever_it_is_asked_for() {
    for line in [
        "",
        "--help",
        "help",
        "run --help",
        "run -it --help x",
        "ps -h",
        "container",
        "image --help",
        "help run",
    ] {
        assert!(
            matches!(parse(&words(line), None, 80), Outcome::Print(text) if text.starts_with("Usage:")),
            "{line}"
        );
    }
    assert_eq!(good("run x --help").args, ["x", "--help"]);
}

#[test]
fn the_tree_is_sound() {
    for verb in verbs() {
        let mut longs: Vec<&str> = verb.all_flags().map(|flag| flag.long).collect();
        let mut shorts: Vec<char> = verb.all_flags().filter_map(|flag| flag.short).collect();
        let counts = (longs.len(), shorts.len());
        longs.sort_unstable();
        longs.dedup();
        shorts.sort_unstable();
        shorts.dedup();
        assert_eq!(counts, (longs.len(), shorts.len()), "{} names a flag twice", verb.name);
    }
    let tree: serde_json::Value = serde_json::from_str(&super::listing()).unwrap();
    let run = tree["commands"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "run")
        .unwrap();
    assert!(
        run["flags"]
            .as_array()
            .unwrap()
            .iter()
            .any(|flag| flag["long"] == "detach" && flag["short"] == "d")
    );
    assert!(run["refused"].as_array().unwrap().iter().any(|flag| flag == "--gpus"));
}
