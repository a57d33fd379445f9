//! Images and the content behind them.

use crate::side::{IMAGE, Sides};

pub fn script(s: &Sides) {
    s.same(&["images", "ls"]);
    s.same(&["images", "import", &s.archive()]);
    s.same(&["images", "ls"]);
    s.same(&["images", "ls", "-q"]);
    s.same(&["images", "ls", "name==docker.io/library/busybox:latest"]);
    s.same(&["images", "ls", "name~=/nothing/"]);
    s.same(&["images", "ls", "name=="]);
    s.same(&["images", "check"]);
    s.same(&["images", "check", "-q"]);
    s.same(&["images", "tag", IMAGE, "docker.io/library/busybox:second"]);
    s.same(&["images", "tag", IMAGE, "docker.io/library/busybox:second"]);
    s.same(&[
        "images",
        "tag",
        "docker.io/library/none:latest",
        "docker.io/library/busybox:third",
    ]);
    s.same(&["images", "label", IMAGE, "colour=red"]);
    s.same(&["images", "ls"]);
    s.same(&["images", "label", IMAGE, "colour="]);
    s.same(&["images", "label", "docker.io/library/none:latest", "colour=red"]);
    let out = s.out("export.tar");
    s.same_each(|side| vec!["images".into(), "export".into(), side.file(&out), IMAGE.into()]);
    s.same_each(|side| vec!["images".into(), "import".into(), side.file(&out)]);
    s.same(&["images", "export", "/nonexistent/x.tar", IMAGE]);
    s.same(&["images", "import", "/nonexistent/x.tar"]);
    content(s);
    registry(s);
    s.same(&["images", "rm", "docker.io/library/busybox:second"]);
    s.same(&["images", "rm", "docker.io/library/none:latest"]);
    s.same(&["images", "rm", "--sync", IMAGE]);
    s.same(&["images", "ls"]);
}

fn content(s: &Sides) {
    let (manifest, config) = (s.manifest(), s.config());
    s.collect();
    s.same_sorted(&["content", "ls"]);
    s.same_sorted(&["content", "ls", "-q"]);
    s.same(&["content", "get", &manifest]);
    s.same(&["content", "get", &config]);
    s.same(&[
        "content",
        "get",
        "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ]);
    s.same(&["content", "get", "no-digest"]);
    s.same(&["content", "label", &config, "colour=red"]);
    s.same_sorted(&["content", "ls", "labels.colour==red"]);
    s.same(&["content", "label", &config, "colour="]);
    s.same_sorted(&["content", "active"]);
    s.feed(&["content", "ingest", "--expected-size", "5", "a-ref"], b"hello");
    s.feed(&["content", "ingest", "--expected-size", "6", "b-ref"], b"hello");
    s.feed(
        &[
            "content",
            "ingest",
            "--expected-digest",
            "sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "c-ref",
        ],
        b"hello",
    );
    s.collect();
    s.same_sorted(&["content", "ls", "-q"]);
    s.same_sorted(&["content", "active"]);
    let hello = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    s.same(&["content", "rm", hello]);
    s.same(&["content", "rm", hello]);
}

fn registry(s: &Sides) {
    let named = |name: &str| format!("{}/{name}", s.registry());
    let pulled = named("busybox:1");
    s.same_transfer(&["images", "pull", "--plain-http", &pulled]);
    s.same_transfer(&["images", "pull", "--plain-http", &pulled]);
    s.same_transfer(&["images", "pull", "--plain-http", &named("none:1")]);
    s.same_transfer(&["images", "pull", "--plain-http", "127.0.0.1:1/none:1"]);
    s.same(&["images", "ls", "-q"]);
    let pushed = named("pushed:1");
    s.same_transfer(&["images", "push", "--plain-http", &pushed, IMAGE]);
    s.same_transfer(&[
        "images",
        "push",
        "--plain-http",
        &pushed,
        "docker.io/library/none:latest",
    ]);
    s.same_transfer(&["images", "pull", "--plain-http", &pushed]);
    s.same(&["images", "rm", &pushed]);
    s.same_transfer(&["content", "fetch", "--plain-http", &pulled]);
    s.same_transfer(&["content", "fetch", "--plain-http", &named("none:1")]);
    s.same(&["content", "fetch-object", "--plain-http", &pulled, &s.config()]);
    let push = |what: &str| {
        let kind = "application/vnd.oci.image.config.v1+json";
        s.same_each(|side| {
            let to = named(&format!("{}:1", side.name));
            ["content", "push-object", "--plain-http", &to, what, kind]
                .map(str::to_owned)
                .to_vec()
        });
    };
    push(&s.config());
    push(&s.config());
    push("sha256:0000000000000000000000000000000000000000000000000000000000000000");
    s.same(&["images", "rm", &pulled]);
}
