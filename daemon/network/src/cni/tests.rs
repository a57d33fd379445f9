use super::*;
use gantry_core::ErrorKind;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

/// A plugin that writes down what it was asked, and answers as the test says.
fn plugin(dir: &Path, name: &str, answer: &str) {
    let path = dir.join(name);
    let log = dir.join("log").display().to_string();
    let text = format!(
        "#!/bin/sh\n{{ echo \"$CNI_COMMAND {name} $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS\"; cat; echo; }} >> {log}\n{answer}\n"
    );
    // By a program: a file that this process has written may be open yet in another test's child, and is not run then.
    let mut sh = Command::new("sh")
        .args(["-ec", "cat > \"$0\"; chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    sh.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(sh.wait().unwrap().success());
}

fn to() -> Attachment<'static> {
    Attachment {
        container: "c1",
        netns: Some(Path::new("/run/netns/x")),
        interface: "eth0",
        args: vec![("IgnoreUnknown", "1".to_owned())],
        capabilities: json!({"portMappings": [{"hostPort": 80}], "mac": "02:00:00:00:00:01"})
            .as_object()
            .unwrap()
            .clone(),
    }
}

/// Calls and what each read.
fn calls(dir: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(dir.join("log")).unwrap_or_default();
    fs::write(dir.join("log"), "").unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let pairs = lines.chunks(2);
    pairs
        .map(|pair| (pair[0].to_owned(), serde_json::from_str(pair[1]).unwrap()))
        .collect()
}

fn chain(version: &str) -> Chain {
    let text = json!({"cniVersion": version, "name": "net", "plugins": [
        {"type": "one", "ipam": {"x": 1}}, {"type": "two", "capabilities": {"portMappings": true, "other": true}}]});
    Chain::parse(&text.to_string()).unwrap()
}

#[test]
fn results_are_handed_on_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let programs = Programs(vec![dir.path().join("empty"), dir.path().to_owned()]);
    plugin(dir.path(), "one", r#"echo '{"cniVersion":"1.0.0","ips":[]}'"#);
    plugin(
        dir.path(),
        "two",
        r#"[ $CNI_COMMAND = DEL ] || echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}'"#,
    );
    let chain = chain("1.0.0");
    chain.look(&programs).unwrap();
    let result = chain.add(&programs, &to()).unwrap();
    assert_eq!(result["ips"][0]["address"], "10.0.0.2/24");
    let said = calls(dir.path());
    assert_eq!(said[0].0, "ADD one c1 /run/netns/x eth0 IgnoreUnknown=1");
    assert_eq!(
        said[0].1,
        json!({"cniVersion": "1.0.0", "name": "net", "type": "one", "ipam": {"x": 1}})
    );
    assert_eq!(
        said[1].1,
        json!({"cniVersion": "1.0.0", "name": "net", "type": "two", "prevResult": {"cniVersion": "1.0.0", "ips": []},
            "runtimeConfig": {"portMappings": [{"hostPort": 80}]}})
    );
    assert!(chain.check(&programs, &to(), &result).unwrap());
    let said = calls(dir.path());
    assert!(said[0].0.starts_with("CHECK one") && said[0].1["prevResult"] == result);
    let gone = Attachment { netns: None, ..to() };
    chain.del(&programs, &gone, &result).unwrap();
    let said = calls(dir.path());
    assert_eq!(
        (said[0].0.as_str(), said.len()),
        ("DEL two c1  eth0 IgnoreUnknown=1", 2)
    );
    assert!(said[1].0.starts_with("DEL one") && said[1].1["prevResult"] == result);

    let old = self::chain("0.3.1");
    old.del(&programs, &gone, &result).unwrap();
    assert!(!old.check(&programs, &to(), &result).unwrap());
    let said = calls(dir.path());
    assert!(said.len() == 2 && said[0].1.get("prevResult").is_none(), "{said:?}");
}

#[test]
fn a_failure_is_said_in_the_plugin_s_words_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let programs = Programs(vec![dir.path().to_owned()]);
    plugin(dir.path(), "one", "[ $CNI_COMMAND = DEL ] || echo '{\"ips\":[]}'");
    plugin(
        dir.path(),
        "two",
        "[ $CNI_COMMAND = DEL ] || { echo '{\"code\":7,\"msg\":\"no luck\",\"details\":\"today\"}'; exit 1; }",
    );
    let error = chain("1.0.0").add(&programs, &to()).unwrap_err();
    assert_eq!(error.to_string(), "CNI plugin two (ADD): no luck; today");
    let commands: Vec<String> = calls(dir.path())
        .into_iter()
        .map(|(line, _)| line[..7].to_owned())
        .collect();
    assert_eq!(commands, ["ADD one", "ADD two", "DEL two", "DEL one"]);
    for (answer, says) in [
        ("echo oh >&2; exit 3", "oh"),
        ("exit 3", "exit status: 3"),
        ("echo no json", "cannot be read"),
    ] {
        plugin(dir.path(), "one", answer);
        let error = chain("1.0.0").add(&programs, &to()).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    fs::remove_file(dir.path().join("two")).unwrap();
    let error = chain("1.0.0").look(&programs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("\"two\""), "{error}");
}

/// Somebody whom a plugin leaves behind, out of its group, has its pipes: nobody waits for him.
#[test]
fn whom_a_plugin_leaves_behind_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let programs = Programs(vec![dir.path().to_owned()]);
    let leaves = "setsid sh -c 'echo $$ >'$0.pid'; exec sleep 1000' & until [ -s $0.pid ]; do sleep 0.01; done";
    for name in ["one", "two"] {
        plugin(dir.path(), name, &format!("{leaves}; echo '{{\"ips\":[]}}'"));
    }
    let added = chain("1.0.0").add(&programs, &to());
    for name in ["one.pid", "two.pid"] {
        let pid = fs::read_to_string(dir.path().join(name)).unwrap();
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    }
    assert_eq!(added.unwrap(), json!({"ips": []}));
}

#[test]
fn configurations_are_found_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("10-list.conflist", &chain("1.0.0").text());
    write(
        "20-single.conf",
        r#"{"cniVersion":"0.4.0","name":"single","type":"bridge"}"#,
    );
    write("30-broken.conflist", "{");
    write("notes.txt", "{");
    assert_eq!(Chain::find(dir.path(), "net").unwrap(), chain("1.0.0"));
    let single = Chain::find(dir.path(), "single").unwrap();
    assert_eq!(single.plugins().len(), 1);
    assert!(!single.is_capable("portMappings") && chain("1.0.0").is_capable("portMappings"));
    assert_eq!(Chain::parse(&single.text()).unwrap().name(), "single");
    let error = Chain::find(dir.path(), "absent").unwrap_err().to_string();
    assert!(
        error.contains("absent") && error.contains("30-broken") && !error.contains("notes"),
        "{error}"
    );
    assert!(Chain::find(&dir.path().join("none"), "x").is_err());
    for (text, says) in [
        (r#"{"cniVersion":"0.2.0","name":"x","type":"a"}"#, "0.2.0"),
        (r#"{"cniVersion":"1.0.0","name":"../x","type":"a"}"#, "name"),
        (r#"{"cniVersion":"1.0.0","name":"x","type":"../a"}"#, "type"),
        (r#"{"cniVersion":"1.0.0","name":"x","plugins":[]}"#, "no plugins"),
        (r#"{"cniVersion":"1.0.0","name":"x","plugins":{}}"#, "list"),
        ("[]", "object"),
    ] {
        let error = Chain::parse(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn results_are_read_for_the_sandbox_s_interface() {
    let result = json!({
        "interfaces": [{"name": "cni0", "mac": "02:00:00:00:00:01"}, {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/x"}],
        "ips": [{"address": "10.9.0.1/24", "interface": 0}, {"address": "10.9.0.2/24", "gateway": "10.9.0.1", "interface": 1},
            {"address": "fd09::2/64", "gateway": "fd09::1"}],
        "routes": [{"dst": "10.0.0.0/8"}, {"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd09::ff"}],
        "dns": {"nameservers": ["10.9.0.53", "x"], "domain": "local", "options": ["ndots:2"]},
    });
    let read = Outcome::read(&result, "eth0");
    let texts = |list: &[IpAddr]| list.iter().map(IpAddr::to_string).collect::<Vec<_>>();
    assert_eq!(read.mac.unwrap().to_string(), "02:00:00:00:00:02");
    assert_eq!(read.address(true).unwrap().to_string(), "10.9.0.2/24");
    assert_eq!(read.address(false).unwrap().to_string(), "fd09::2/64");
    assert_eq!(texts(&read.gateways), ["10.9.0.1", "fd09::ff"]);
    assert_eq!(
        (texts(&read.servers), read.search, read.options),
        (
            vec!["10.9.0.53".to_owned()],
            vec!["local".to_owned()],
            vec!["ndots:2".to_owned()]
        )
    );
    assert_eq!(Outcome::read(&json!({}), "eth0"), Outcome::default());
}
