use std::sync::Arc;

use super::{Struct, Template, Value};

fn data() -> Value {
    let labels: Value = [("com.example", "yes"), ("tier", "web")].into_iter().collect();
    let ports: Value = [("80/tcp", Value::Null), ("443/tcp", Value::List(vec!["8443".into()]))]
        .into_iter()
        .collect();
    let label = |args: &[Value]| match args {
        [Value::Str(name)] => Ok(Value::from(format!("<{name}>"))),
        _ => Err("wrong number of args for Label: want 1".to_owned()),
    };
    let config = Struct::new("container.Config")
        .with("Labels", labels)
        .with("Cmd", ["sh", "-c"].map(String::from).as_slice());
    let host = Struct::new("container.HostConfig").with("Memory", 1024);
    Struct::new("types.ContainerJSON")
        .with("Name", "/web")
        .with("Count", 3)
        .with("Empty", "")
        .with("Running", true)
        .with("Config", config)
        .with("HostConfig", host)
        .with("Ports", ports)
        .with("Label", Value::Method(Arc::new(label)))
        .into()
}

fn run(source: &str) -> String {
    match Template::parse(source) {
        Ok(template) => template.run(&data()).unwrap_or_else(|err| format!("error: {err}")),
        Err(err) => format!("parse: {err}"),
    }
}

#[test]
fn fields_and_functions() {
    for (source, want) in [
        ("{{.Name}}", "/web"),
        ("a {{ .Name }} b", "a /web b"),
        ("{{.Config.Labels.tier}}", "web"),
        ("{{index .Config.Labels \"com.example\"}}", "yes"),
        ("{{.Config.Labels.nope}}", "<no value>"),
        (
            "{{json .Config}}",
            r#"{"Labels":{"com.example":"yes","tier":"web"},"Cmd":["sh","-c"]}"#,
        ),
        ("{{.Config.Cmd}}", "[sh -c]"),
        ("{{index .Config.Cmd 1}}", "-c"),
        ("{{join .Config.Cmd \" \"}}", "sh -c"),
        ("{{len .Config.Cmd}}", "2"),
        ("{{upper .Name}} {{.Name | upper | lower}}", "/WEB /web"),
        ("{{title \"hello world\"}}", "Hello World"),
        ("{{pad .Name 1 2}}|{{pad .Empty 1 2}}|", " /web  ||"),
        ("{{truncate .Name 2}}", "/w"),
        ("{{slice .Name 1}}", "web"),
        ("{{index (split .Name \"/\") 1}}", "web"),
        (
            "{{printf \"%-6s|%5d|%05d|%q|%v\" .Name .Count .Count .Name .Running}}",
            "/web  |    3|00003|\"/web\"|true",
        ),
        ("{{println 1 2}}{{print 1 2 \"x\" 3}}", "1 2\n1 2x3"),
        ("{{.Label \"a\"}}", "<a>"),
        ("{{(index .Ports \"443/tcp\")}}", "[8443]"),
        ("{{index .Ports \"443/tcp\" 0}}", "8443"),
        (
            "{{eq .Count 1 3}} {{ne .Count 3}} {{lt 1 2}} {{ge 2.5 2.5}} {{not true}}",
            "true false true true false",
        ),
        (
            "{{and .Running .Name}} {{or .Empty \"x\"}} {{and .Empty .Nope}}",
            "/web x ",
        ),
        ("{{\"quoted\\n\"}}{{`raw\\n`}}", "quoted\nraw\\n"),
        ("{{html \"<a>\"}} {{urlquery \"a b&\"}}", "&lt;a&gt; a+b%26"),
    ] {
        assert_eq!(run(source), want, "{source}");
    }
}

#[test]
fn control_structures() {
    for (source, want) in [
        ("{{if .Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Empty}}a{{else if eq .Count 3}}b{{else}}c{{end}}", "b"),
        ("{{with .Config}}{{len .Cmd}}{{end}}", "2"),
        ("{{with .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Config.Cmd}}[{{.}}]{{end}}", "[sh][-c]"),
        ("{{range $i, $e := .Config.Cmd}}{{if $i}},{{end}}{{$e}}{{end}}", "sh,-c"),
        (
            "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}",
            "com.example=yes tier=web ",
        ),
        (
            "{{range .Empty}}x{{else}}nothing{{end}}",
            "error: template: :1:8: executing \"\" at <.Empty>: range can't iterate over ",
        ),
        (
            "{{range $p, $c := .Ports}}{{$p}}{{range $c}}->{{.}}{{end}} {{end}}",
            "443/tcp->8443 80/tcp ",
        ),
        (
            "{{range .Config.Cmd}}{{if eq . \"-c\"}}{{break}}{{end}}{{.}}{{end}}",
            "sh",
        ),
        (
            "{{range .Config.Cmd}}{{if eq . \"sh\"}}{{continue}}{{end}}{{.}}{{end}}",
            "-c",
        ),
        ("{{$x := .Name}}{{$x}}{{$x = \"y\"}}{{$x}}", "/weby"),
        ("{{range .Config.Cmd}}{{$.Name}} {{end}}", "/web /web "),
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Name}}", "</web>"),
        ("{{block \"b\" .Count}}{{.}}{{end}}", "3"),
        ("{{- .Name -}}  x", "/webx"),
        ("{{/* note */}}a", "a"),
    ] {
        assert_eq!(run(source), want, "{source}");
    }
}

#[test]
fn errors_read_as_go_writes_them() {
    for (source, want) in [
        (
            "{{.Nope}}",
            "error: template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type types.ContainerJSON",
        ),
        ("{{.Name", "parse: template: :1: unclosed action"),
        ("{{nope .Name}}", "parse: template: :1: function \"nope\" not defined"),
        ("{{$x}}", "parse: template: :1: undefined variable \"$x\""),
        ("{{if .Name}}", "parse: template: :1: unexpected EOF"),
        ("{{end}}", "parse: template: :1: unexpected {{end}}"),
        ("{{}}", "parse: template: :1: missing value for command"),
        (
            "{{index .Config.Cmd 7}}",
            "error: template: :1:2: executing \"\" at <index .Config.Cmd 7>: error calling index: index out of range: 7",
        ),
        (
            "{{join .Name \",\"}}",
            "error: template: :1:2: executing \"\" at <join .Name \",\">: error calling join: wrong type for value; expected []string; got string",
        ),
        ("{{(.Name}}", "parse: template: :1: unclosed left paren"),
        (
            "{{len}}",
            "error: template: :1:2: executing \"\" at <len>: error calling len: wrong number of args for len: want 1 got 0",
        ),
    ] {
        assert_eq!(run(source), want, "{source}");
    }
}

#[test]
fn strict_runs_refuse_unknown_keys() {
    let map: Value = [("A", 1)].into_iter().collect();
    let template = Template::parse("{{.B}}").unwrap();
    assert_eq!(template.run(&map).unwrap(), "<no value>");
    let err = template.run_strict(&map).unwrap_err().to_string();
    assert_eq!(
        err,
        "template: :1:2: executing \"\" at <.B>: map has no entry for key \"B\""
    );
}

#[test]
fn headers_take_functions_as_they_come() {
    let titles: Value = [("ID", "CONTAINER ID"), ("Names", "NAMES")].into_iter().collect();
    let template = Template::parse("{{upper .ID}}\t{{.Label \"tier\"}}\t{{json .Names}}\t{{truncate .ID 3}}").unwrap();
    assert_eq!(
        template.header(&titles).unwrap(),
        "CONTAINER ID\ttier\tNAMES\tCONTAINER ID"
    );
}

#[test]
fn endless_recursion_ends() {
    assert!(run("{{define \"r\"}}{{template \"r\" .}}{{end}}{{template \"r\" .}}").contains("maximum template depth"));
}
