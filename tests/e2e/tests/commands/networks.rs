//! `gantry network ...`, and the flags of `create` and `run` that speak of networks.

use crate::stage::{Case, IMAGE, Stage, UP, bad, good};
use serde_json::Value;

const NOT_BOOL: &str = "strconv.ParseBool: parsing \"x\": invalid syntax";

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for verb in ["create", "run"] {
        cases.extend(seen_inside(verb));
        cases.extend(in_a_network(verb));
        cases.extend(refused(verb));
    }
    cases.extend(made());
    cases.extend(listed());
    cases.extend(connected());
    cases.extend(refusals());
    cases
}

/// A network of the case's own.
fn net(stage: &Stage, flags: &[&str]) -> String {
    let name = stage.name();
    let mut args = vec!["network", "create"];
    args.extend(flags);
    args.push(&name);
    stage.gantry.ok(&args);
    name
}

fn look(stage: &Stage, name: &str) -> Value {
    let text = stage.gantry.ok(&["network", "inspect", name]);
    let all: Value = serde_json::from_str(&text).expect("inspect prints JSON");
    all[0].clone()
}

fn drop_net(stage: &Stage, name: &str) {
    stage.gantry.ok(&["network", "rm", name]);
}

fn seen_inside(verb: &'static str) -> Vec<Case> {
    let prints = |flag, set: &'static [&'static str], script: &'static str, expected: &'static str| {
        good(verb, flag, move |stage| {
            let output = stage.made(verb, set, script);
            assert_eq!(output.stdout.trim(), expected, "{verb} {set:?}: {}", output.stderr);
        })
    };
    let tells = |flag, set: &'static [&'static str], template: &'static str, expected: &'static str| {
        good(verb, flag, move |stage| {
            let name = stage.kept(verb, set);
            assert_eq!(stage.look(&name, template), expected, "{verb} {set:?}");
            stage.gone(&name);
        })
    };
    vec![
        prints(
            "add-host",
            &["--add-host", "db:192.0.2.7"],
            "grep -w db /etc/hosts | tr '\\t' ' '",
            "192.0.2.7 db",
        ),
        prints(
            "dns",
            &["--dns", "192.0.2.53"],
            "grep ^nameserver /etc/resolv.conf",
            "nameserver 192.0.2.53",
        ),
        prints(
            "dns-option",
            &["--dns-option", "ndots:4"],
            "grep ^options /etc/resolv.conf",
            "options ndots:4",
        ),
        prints(
            "dns-search",
            &["--dns-search", "a.test"],
            "grep ^search /etc/resolv.conf",
            "search a.test",
        ),
        prints(
            "mac-address",
            &["--mac-address", "02:11:22:33:44:66"],
            "cat /sys/class/net/eth0/address",
            "02:11:22:33:44:66",
        ),
        tells(
            "expose",
            &["--expose", "7000/udp"],
            "{{json .Config.ExposedPorts}}",
            "{\"7000/udp\":{}}",
        ),
        tells(
            "publish",
            &["-p", "127.0.0.1::7000"],
            "{{json .HostConfig.PortBindings}}",
            "{\"7000/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"\"}]}",
        ),
        tells("publish-all", &["-P"], "{{.HostConfig.PublishAllPorts}}", "true"),
        good(verb, "link", move |stage| {
            let target = stage.up(&[], "sleep 1000");
            let output = stage.made(verb, &["--link", &format!("{target}:other")], "grep other /etc/hosts");
            assert!(output.stdout.contains(&target), "{}{}", output.stdout, output.stderr);
            stage.gone(&target);
        }),
    ]
}

fn in_a_network(verb: &'static str) -> Vec<Case> {
    let inside = |flag,
                  subnets: &'static [&'static str],
                  set: &'static [&'static str],
                  script: &'static str,
                  says: &'static str| {
        good(verb, flag, move |stage| {
            let name = net(stage, subnets);
            let mut flags = vec!["--network", &name];
            flags.extend(set);
            let output = stage.made(verb, &flags, script);
            assert!(
                output.stdout.contains(says),
                "{verb} {set:?}: {}{}",
                output.stdout,
                output.stderr
            );
            drop_net(stage, &name);
        })
    };
    let create = verb == "create";
    let four: &[&str] = if create {
        &["--subnet", "10.211.1.0/24"]
    } else {
        &["--subnet", "10.211.2.0/24"]
    };
    let six: &[&str] = if create {
        &["--ipv6", "--subnet", "fd00:211:1::/64"]
    } else {
        &["--ipv6", "--subnet", "fd00:211:2::/64"]
    };
    let (ip, shown): (&[&str], &str) = match create {
        true => (&["--ip", "10.211.1.77"], "10.211.1.77/24"),
        false => (&["--ip", "10.211.2.77"], "10.211.2.77/24"),
    };
    let (ip6, shown6): (&[&str], &str) = match create {
        true => (&["--ip6", "fd00:211:1::77"], "fd00:211:1::77/64"),
        false => (&["--ip6", "fd00:211:2::77"], "fd00:211:2::77/64"),
    };
    vec![
        inside("ip", four, ip, "ip -o addr show eth0", shown),
        inside("ip6", six, ip6, "ip -o addr show eth0", shown6),
        inside(
            "link-local-ip",
            &[],
            &["--link-local-ip", "169.254.7.8"],
            "ip -o addr show eth0",
            "169.254.7.8",
        ),
        inside(
            "network-alias",
            &[],
            &["--network-alias", "other"],
            "nslookup other",
            "Name:\tother",
        ),
    ]
}

fn refused(verb: &'static str) -> Vec<Case> {
    let by_daemon = if verb == "run" { 125 } else { 1 };
    let no = |flag, value: &'static str, code, says| {
        let given = format!("--{flag}={value}");
        bad(verb, flag, &[verb, &given, IMAGE, "true"], code, says)
    };
    vec![
        no("add-host", "bad", 125, "bad format for add-host"),
        no("dns", "nowhere", 125, "IP address is not correctly formatted: nowhere"),
        bad(
            verb,
            "dns-option",
            &[verb, "--dns-option"],
            125,
            "flag needs an argument",
        ),
        no("dns-search", "", 125, "is not a valid domain"),
        no("expose", "nope", 125, "invalid range format for --expose: nope"),
        no("ip", "nope", by_daemon, "invalid value \"nope\""),
        no("ip6", "nope", by_daemon, "invalid value \"nope\""),
        no("link", "", 125, "empty string specified for links"),
        no(
            "link-local-ip",
            "nope",
            125,
            "IP address is not correctly formatted: nope",
        ),
        no("mac-address", "nope", 125, "nope is not a valid mac address"),
        no("network-alias", "x", 125, "only supported for user-defined networks"),
        no("publish", "70000:1", 125, "invalid hostPort: 70000"),
        no("publish-all", "x", 125, NOT_BOOL),
    ]
}

/// `network create`.
fn made() -> Vec<Case> {
    let shows = |flag, flags: &'static [&'static str], field: &'static str, expected: &'static str| {
        good("network create", flag, move |stage| {
            let name = net(stage, flags);
            let seen = look(stage, &name);
            let value = seen.pointer(field).unwrap_or(&Value::Null);
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(text, expected, "{flags:?}: {seen:#}");
            drop_net(stage, &name);
        })
    };
    vec![
        shows("", &[], "/Scope", "local"),
        shows("attachable", &["--attachable"], "/Attachable", "true"),
        shows(
            "aux-address",
            &["--subnet", "10.212.1.0/24", "--aux-address", "router=10.212.1.9"],
            "/IPAM/Config/0/AuxiliaryAddresses/router",
            "10.212.1.9",
        ),
        shows("driver", &["--driver", "bridge"], "/Driver", "bridge"),
        shows(
            "gateway",
            &["--subnet", "10.212.2.0/24", "--gateway", "10.212.2.254"],
            "/IPAM/Config/0/Gateway",
            "10.212.2.254",
        ),
        shows("internal", &["--internal"], "/Internal", "true"),
        shows(
            "ip-range",
            &["--subnet", "10.212.3.0/24", "--ip-range", "10.212.3.128/25"],
            "/IPAM/Config/0/IPRange",
            "10.212.3.128/25",
        ),
        shows("ipam-driver", &["--ipam-driver", "default"], "/IPAM/Driver", "default"),
        shows("ipam-opt", &["--ipam-opt", "a=b"], "/IPAM/Options/a", "b"),
        shows("ipv4", &["--ipv4=false", "--ipv6"], "/EnableIPv4", "false"),
        shows("ipv6", &["--ipv6"], "/EnableIPv6", "true"),
        shows("label", &["--label", "a=b"], "/Labels/a", "b"),
        shows(
            "opt",
            &["-o", "com.docker.network.driver.mtu=1400"],
            "/Options/com.docker.network.driver.mtu",
            "1400",
        ),
        shows(
            "subnet",
            &["--subnet", "10.212.4.0/24"],
            "/IPAM/Config/0/Subnet",
            "10.212.4.0/24",
        ),
    ]
}

/// `network ls`, `inspect`, `rm` and `prune`.
fn listed() -> Vec<Case> {
    let lists = |flag, args: &'static [&'static str], expected: &'static str| {
        good("network ls", flag, move |stage| {
            let mut all = vec!["network", "ls", "-f", "name=host"];
            all.extend(args);
            let text = stage.gantry.ok(&all);
            assert!(text.contains(expected), "{args:?}: {text}");
        })
    };
    let id = |stage: &Stage, flags: &[&str]| {
        let mut args = vec!["network", "ls", "-q", "-f", "name=none"];
        args.extend(flags);
        stage.gantry.ok(&args)
    };
    vec![
        lists("", &[], "NETWORK ID"),
        lists("filter", &["--filter", "driver=host"], "host"),
        lists("format", &["--format", "{{.Name}}/{{.Driver}}"], "host/host"),
        good("network ls", "quiet", move |s| assert_eq!(id(s, &[]).len(), 12)),
        good("network ls", "no-trunc", move |s| {
            assert_eq!(id(s, &["--no-trunc"]).len(), 64)
        }),
        good("network inspect", "", |s| assert_eq!(look(s, "host")["Name"], "host")),
        good("network inspect", "format", |s| {
            assert_eq!(
                s.gantry.ok(&["network", "inspect", "-f", "{{.Driver}}", "none"]),
                "null"
            );
        }),
        good("network inspect", "verbose", |s| {
            assert!(s.gantry.ok(&["network", "inspect", "-v", "bridge"]).contains("bridge"));
        }),
        good("network rm", "", |s| {
            let (one, two) = (net(s, &[]), net(s, &[]));
            assert_eq!(s.gantry.ok(&["network", "rm", &one, &two]), format!("{one}\n{two}"));
        }),
        good("network rm", "force", |s| {
            s.gantry.ok(&["network", "rm", "-f", "no-such-network"]);
        }),
        good("network prune", "", |s| {
            let name = net(s, &["--label", "prune=plain"]);
            let output = s
                .gantry
                .feed(&["network", "prune", "--filter", "label=prune=plain"], b"y\n")
                .exits(0);
            assert!(output.stdout.contains(&name), "{}", output.stdout);
        }),
        good("network prune", "filter", |s| {
            let (mine, other) = (net(s, &["--label", "prune=mine"]), net(s, &["--label", "prune=other"]));
            let text = s.gantry.ok(&["network", "prune", "-f", "--filter", "label=prune=mine"]);
            assert!(text.contains(&mine) && !text.contains(&other), "{text}");
            drop_net(s, &other);
        }),
        good("network prune", "force", |s| {
            let name = net(s, &["--label", "prune=force"]);
            let text = s
                .gantry
                .ok(&["network", "prune", "--force", "--filter", "label=prune=force"]);
            assert!(text.contains(&name), "{text}");
        }),
    ]
}

/// `network connect` and `disconnect`.
fn connected() -> Vec<Case> {
    let joins = |flag,
                 subnets: &'static [&'static str],
                 set: &'static [&'static str],
                 script: &'static str,
                 says: &'static str| {
        good("network connect", flag, move |stage| {
            let (name, container) = (net(stage, subnets), stage.up(&[], "sleep 1000"));
            let mut args = vec!["network", "connect"];
            args.extend(set);
            args.extend([name.as_str(), &container]);
            stage.gantry.ok(&args);
            let seen = stage.gantry.ok(&["exec", &container, "sh", "-c", script]);
            assert!(seen.contains(says), "{set:?}: {seen}");
            stage.gone(&container);
            drop_net(stage, &name);
        })
    };
    let leaves = |flag, set: &'static [&'static str]| {
        good("network disconnect", flag, move |stage| {
            let name = net(stage, &[]);
            let container = stage.up(&["--network", &name], "sleep 1000");
            let mut args = vec!["network", "disconnect"];
            args.extend(set);
            args.extend([name.as_str(), &container]);
            stage.gantry.ok(&args);
            let left = stage.gantry.ok(&["exec", &container, "ls", "/sys/class/net"]);
            assert!(!left.contains("eth0"), "{left}");
            stage.gone(&container);
            drop_net(stage, &name);
        })
    };
    let show = "ip -o addr show eth1";
    vec![
        joins("", &[], &[], show, "inet "),
        joins("alias", &[], &["--alias", "other"], "nslookup other", "Name:\tother"),
        good("network connect", "driver-opt", |stage| {
            let (name, container) = (net(stage, &[]), stage.up(&[], "sleep 1000"));
            let option = "com.docker.network.endpoint.ifname=wire0";
            stage
                .gantry
                .ok(&["network", "connect", "--driver-opt", option, &name, &container]);
            let template = format!("{{{{json .NetworkSettings.Networks.{name}.DriverOpts}}}}");
            let seen = stage.look(&container, &template);
            assert_eq!(seen, "{\"com.docker.network.endpoint.ifname\":\"wire0\"}");
            stage.gantry.ok(&["exec", &container, "ls", "/sys/class/net/wire0"]);
            stage.gone(&container);
            drop_net(stage, &name);
        }),
        joins("gw-priority", &[], &["--gw-priority", "7"], "ip route", "dev eth1"),
        joins(
            "ip",
            &["--subnet", "10.213.1.0/24"],
            &["--ip", "10.213.1.77"],
            show,
            "10.213.1.77/24",
        ),
        joins(
            "ip6",
            &["--ipv6", "--subnet", "fd00:213::/64"],
            &["--ip6", "fd00:213::77"],
            show,
            "fd00:213::77/64",
        ),
        joins(
            "link-local-ip",
            &[],
            &["--link-local-ip", "169.254.9.8"],
            show,
            "169.254.9.8",
        ),
        good("network connect", "link", |stage| {
            let name = net(stage, &[]);
            let (one, two) = (
                stage.up(&["--network", &name], "sleep 1000"),
                stage.up(&[], "sleep 1000"),
            );
            stage
                .gantry
                .ok(&["network", "connect", "--link", &format!("{one}:other"), &name, &two]);
            let seen = stage.gantry.ok(&["exec", &two, "nslookup", "other"]);
            assert!(seen.contains("Name:\tother"), "{seen}");
            stage.gone(&one);
            stage.gone(&two);
            drop_net(stage, &name);
        }),
        leaves("", &[]),
        leaves("force", &["--force"]),
    ]
}

fn refusals() -> Vec<Case> {
    let no = |command: &str, flag, more: &[&str], code, says| {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.extend(more);
        bad(command, flag, &args, code, says)
    };
    let (create, connect) = ("network create", "network connect");
    vec![
        no(create, "", &[], 1, "requires 1 argument"),
        no(create, "attachable", &["--attachable=x", "nn"], 125, NOT_BOOL),
        no(
            create,
            "aux-address",
            &["--aux-address", "a=10.9.9.9", "nn"],
            1,
            "no matching subnet for aux-address",
        ),
        no(
            create,
            "driver",
            &["--driver", "nope", "nn"],
            1,
            "unknown network driver \"nope\"",
        ),
        no(
            create,
            "gateway",
            &["--gateway", "10.9.9.9", "nn"],
            1,
            "every ip-range or gateway must have a corresponding subnet",
        ),
        no(create, "internal", &["--internal=x", "nn"], 125, NOT_BOOL),
        no(
            create,
            "ip-range",
            &["--ip-range", "10.9.9.0/24", "nn"],
            1,
            "every ip-range or gateway must have a corresponding subnet",
        ),
        no(
            create,
            "ipam-driver",
            &["--ipam-driver", "nope", "nn"],
            1,
            "unknown ipam driver \"nope\"",
        ),
        no(create, "ipam-opt", &["--ipam-opt"], 125, "flag needs an argument"),
        no(create, "ipv4", &["--ipv4=x", "nn"], 125, NOT_BOOL),
        no(create, "ipv6", &["--ipv6=x", "nn"], 125, NOT_BOOL),
        no(create, "label", &["--label=", "nn"], 125, "invalid label"),
        no(create, "opt", &["--opt", "x=y", "nn"], 1, "unknown option x"),
        no(create, "subnet", &["--subnet", "nope", "nn"], 1, "nope"),
        no(connect, "", &["bridge"], 1, "requires 2 arguments"),
        no(
            connect,
            "alias",
            &["--alias", "x", "nowhere", UP],
            1,
            "network nowhere not found",
        ),
        no(
            connect,
            "driver-opt",
            &["--driver-opt", "nope", "bridge", UP],
            1,
            "invalid key/value pair",
        ),
        no(
            connect,
            "gw-priority",
            &["--gw-priority", "x", "bridge", UP],
            125,
            "invalid syntax",
        ),
        no(
            connect,
            "ip",
            &["--ip", "nope", "bridge", UP],
            1,
            "invalid value \"nope\"",
        ),
        no(
            connect,
            "ip6",
            &["--ip6", "nope", "bridge", UP],
            1,
            "invalid value \"nope\"",
        ),
        no(
            connect,
            "link",
            &["--link=", "bridge", UP],
            125,
            "empty string specified for links",
        ),
        no(
            connect,
            "link-local-ip",
            &["--link-local-ip", "nope", "bridge", UP],
            125,
            "not correctly formatted",
        ),
        no("network disconnect", "", &["bridge"], 1, "requires 2 arguments"),
        no(
            "network disconnect",
            "force",
            &["--force=x", "bridge", UP],
            125,
            NOT_BOOL,
        ),
        no("network inspect", "", &["nowhere"], 1, "nowhere"),
        no(
            "network inspect",
            "format",
            &["-f", "{{.Nope}}", "bridge"],
            1,
            "no entry for key \"Nope\"",
        ),
        no("network inspect", "verbose", &["--verbose=x", "bridge"], 125, NOT_BOOL),
        no("network ls", "", &["nope"], 1, "accepts no arguments"),
        no(
            "network ls",
            "filter",
            &["--filter", "nope=1"],
            1,
            "invalid filter 'nope'",
        ),
        no("network ls", "format", &["--format", "{{.Nope"], 1, "template"),
        no("network ls", "no-trunc", &["--no-trunc=x"], 125, NOT_BOOL),
        no("network ls", "quiet", &["--quiet=x"], 125, NOT_BOOL),
        no("network prune", "", &["nope"], 1, "accepts no arguments"),
        no(
            "network prune",
            "filter",
            &["-f", "--filter", "nope=1"],
            1,
            "invalid filter 'nope'",
        ),
        no("network prune", "force", &["--force=x"], 125, NOT_BOOL),
        no("network rm", "", &["nowhere"], 1, "nowhere"),
        no("network rm", "force", &["--force=x", "nowhere"], 125, NOT_BOOL),
    ]
}
