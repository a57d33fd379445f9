//! Networks.

use crate::alike::Answer;
use crate::sides::{IMAGE, Sides};

#[test]
fn networks_answer_alike() {
    let s = &Sides::new();
    s.sorted(&["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]);
    s.same(&[
        "network",
        "inspect",
        "-f",
        "{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{len .Containers}}",
        "bridge",
    ]);
    s.same(&["network", "inspect", "nothing"]);
    s.same(&["network", "create", "--subnet", "10.99.0.0/24", "--label", "a=b", "one"]);
    s.code(&["network", "create", "one"]);
    s.same(&["network", "create", "bridge"]);
    s.json(&["network", "inspect", "one"]);
    s.same(&["network", "ls", "--filter", "name=one", "--format", "{{.Name}}"]);
    s.same(&["network", "ls", "--filter", "label=a", "--format", "{{.Name}}"]);
    s.same(&["network", "ls", "--filter", "odd=1"]);
    s.same(&["network", "create", "--internal", "two"]);
    s.same(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "one",
        "--ip",
        "10.99.0.7",
        "--network-alias",
        "alias",
        IMAGE,
        "sleep",
        "1000",
    ]);
    s.same(&["inspect", "-f", "{{(index .NetworkSettings.Networks \"one\").IPAddress}} {{(index .NetworkSettings.Networks \"one\").IPPrefixLen}}", "box"]);
    s.same(&[
        "run",
        "--rm",
        "--network",
        "one",
        IMAGE,
        "sh",
        "-c",
        "nslookup alias 2>/dev/null | grep -c 10.99.0.7",
    ]);
    s.same(&["network", "connect", "two", "box"]);
    s.code(&["network", "connect", "two", "box"]);
    s.same(&["inspect", "-f", "{{len .NetworkSettings.Networks}}", "box"]);
    s.code(&["network", "rm", "two"]);
    s.same(&["network", "disconnect", "two", "box"]);
    s.code(&["network", "disconnect", "two", "box"]);
    s.same(&["network", "rm", "two"]);
    s.same(&["network", "rm", "nothing"]);
    s.same(&["network", "rm", "bridge"]);
    s.code(&["run", "--rm", "--network", "nothing", IMAGE, "true"]);
    s.same(&[
        "run",
        "--rm",
        "--network",
        "container:box",
        IMAGE,
        "sh",
        "-c",
        "ip -4 -o addr show eth0 | grep -c 10.99.0.7",
    ]);
    s.same(&[
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "127.0.0.1:8081:80",
        "-p",
        "8082:81/udp",
        IMAGE,
        "sleep",
        "1000",
    ]);
    s.compare(&["port", "web"], |side| {
        Answer::of(&side.run(&["port", "web"])).by_ipv4().sorted()
    });
    s.same(&["port", "web", "80"]);
    s.same(&["port", "web", "99"]);
    s.same(&["inspect", "-f", "{{json .HostConfig.PortBindings}}", "web"]);
    s.same(&[
        "inspect",
        "-f",
        "{{json (index .NetworkSettings.Ports \"80/tcp\")}}",
        "web",
    ]);
    s.same(&["rm", "-f", "web", "box"]);
    s.same(&["network", "prune", "-f"]);
    s.sorted(&["network", "ls", "--format", "{{.Name}}"]);
}
