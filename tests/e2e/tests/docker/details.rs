//! Answers that clients and their suites look at closely, at the newest version of the API; one daemon, one case after the other.

use crate::shapes::ask;
use crate::world::{Connection, IMAGE, NEWEST, World, filter, filters};
use gantry_e2e::{PATIENCE, eventually};
use serde_json::{Value, json};
use std::fs;

const JSON: &str = "Content-Type: application/json";

fn tar_names(world: &World, path: &str) -> Vec<String> {
    let bytes = world.raw(&format!("/v{NEWEST}{path}"));
    let mut archive = tar::Archive::new(bytes.as_slice());
    let entries = archive.entries().expect("an archive");
    let name = |entry: tar::Entry<'_, &[u8]>| String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    entries.map(|entry| name(entry.expect("an entry"))).collect()
}

/// A tar of one file.
fn one_file(name: &str, text: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, name, text.as_bytes())
        .expect("a tar is written");
    builder.into_inner().expect("a tar is written")
}

#[track_caller]
fn refused(world: &World, method: &str, path: &str, body: &Value, status: u16, says: &str) {
    let reply = world.at(NEWEST, method, path, body);
    assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
    assert!(reply.message().contains(says), "{says:?} in {:?}", reply.message());
}

#[test]
fn odd_texts_and_unread_bodies() {
    let w = &World::new(false);
    let invalid = ask(&w.socket, "POST", "/containers/create", &[JSON], b"{invalid");
    assert_eq!(invalid.status, 400, "{invalid:?}");
    assert_eq!(
        invalid.message(),
        "invalid JSON: invalid character 'i' looking for beginning of object key string"
    );
    // What nobody reads is taken, so that the answer is.
    let body = vec![b'x'; 200 << 10];
    for (path, kind, status) in [
        ("/containers/create", "Content-Type: text/plain", 400),
        ("/nothing/here", JSON, 404),
    ] {
        let mut connection = Connection::open(w, "POST", &format!("/v{NEWEST}{path}"), &[kind], &body);
        connection.rest();
        assert_eq!(connection.status(), status, "{path}");
    }
    // Whole answers are as they are written; what is streamed is escaped.
    w.create("shell", json!({ "Cmd": ["sh", "-c", "true && echo '<a>'"] }));
    let whole = w.get("/containers/shell/json");
    assert!(whole.body.contains("true && echo '<a>'"), "{}", whole.body);
    let listed = w.get("/containers/json?all=1");
    assert!(listed.body.contains("true && echo"), "{}", listed.body);
}

#[test]
fn files_of_containers_that_do_not_run() {
    let w = &World::new(false);
    let shared = tempfile::tempdir().expect("a directory");
    let dir = shared.path().to_str().expect("a name");
    fs::write(shared.path().join("there"), "x").expect("a file");
    let binds = json!([format!("{dir}:/ro:ro"), format!("{dir}:/rw")]);
    w.create(
        "made",
        json!({ "WorkingDir": "/home/of//app/", "HostConfig": { "Binds": binds } }),
    );
    // What was asked for is there before the first start.
    let shown = w.list("/containers/made/json");
    assert_eq!(shown["Config"]["WorkingDir"], "/home/of/app");
    assert_eq!(w.get("/containers/made/archive?path=/home/of/app").status, 200);
    assert_eq!(tar_names(w, "/containers/made/archive?path=/ro/there"), ["there"]);
    let put = |path: &str| {
        let path = format!("/v{NEWEST}/containers/made/archive?path={path}");
        ask(&w.socket, "PUT", &path, &[], &one_file("file", "text"))
    };
    let denied = put("/ro");
    assert_eq!(
        (denied.status, denied.message().as_str()),
        (403, "mounted volume is marked read-only")
    );
    assert_eq!(put("/rw").status, 200);
    assert_eq!(
        fs::read_to_string(shared.path().join("file")).expect("it is there"),
        "text"
    );
    // Names below a directory whose contents are asked for begin with it, however long they are.
    let long = "n".repeat(150);
    w.shell(
        "ran",
        &format!("mkdir -p /d/e; echo 1 > /d/a; ln /d/a /d/e/{long}; ln -s a /d/l"),
    );
    let names = tar_names(w, "/containers/ran/archive?path=/d/.");
    assert_eq!(names, ["./", "./a", "./e/", &format!("./e/{long}"), "./l"]);
    assert_eq!(tar_names(w, "/containers/ran/archive?path=/d/e")[0], "e/");
    // Its name service is what the run had.
    let path = w.list("/containers/ran/json")["HostsPath"]
        .as_str()
        .expect("a path")
        .to_owned();
    let bytes = w.raw(&format!("/v{NEWEST}/containers/ran/archive?path=/etc/hosts"));
    let hosts = fs::read(path).expect("the file is there");
    assert!(bytes.windows(hosts.len()).any(|some| some == hosts));
    // The whole host can be looked at, and what is unmounted there goes.
    let root = json!({ "Cmd": ["ls", "/host/proc/1"], "HostConfig": { "Binds": ["/:/host:ro"] } });
    w.run("looking", root);
    assert_eq!(w.ended("looking"), 0);
    let shown = w.list("/containers/looking/json");
    assert_eq!(shown["Mounts"][0]["Propagation"], "rslave");
    // Nothing is made in a /dev that is the host's, and it can have a terminal.
    let own = fs::read_link("/dev/fd").expect("the host has it");
    let dev = json!({
        "Cmd": ["sh", "-c", "touch /dev/made; test -c /dev/null && test -t 0 && grep ' /dev ' /proc/mounts"],
        "Tty": true, "OpenStdin": true, "HostConfig": { "Binds": ["/dev:/dev:ro"] }
    });
    w.run("nodes", dev);
    assert_eq!(w.ended("nodes"), 0);
    let raw = w.raw(&format!("/v{NEWEST}/containers/nodes/logs?stdout=1"));
    let text = String::from_utf8_lossy(&raw).into_owned();
    assert!(
        text.contains("Read-only file system") && text.contains(" /dev "),
        "{text}"
    );
    assert_eq!(fs::read_link("/dev/fd").expect("it is left alone"), own);
    let private = json!({ "Image": IMAGE, "Cmd": ["true"], "HostConfig": { "Binds": ["/:/host:rprivate"] } });
    refused(
        w,
        "POST",
        "/containers/create",
        &private,
        400,
        "must use either propagation mode",
    );
}

#[test]
fn what_containers_lend_each_other() {
    let w = &World::new(true);
    let create = |host: Value, more: Value| {
        let mut body = json!({ "Image": IMAGE, "Cmd": ["true"], "HostConfig": host });
        for (key, value) in more.as_object().expect("fields") {
            body[key] = value.clone();
        }
        body
    };
    // A container that is missing is no missing image.
    for (host, says) in [
        (json!({ "Links": ["nobody:x"] }), "could not get container for nobody"),
        (json!({ "VolumesFrom": ["nobody"] }), "No such container: nobody"),
        (json!({ "PidMode": "container:nobody" }), "No such container: nobody"),
        (json!({ "IpcMode": "container:nobody" }), "No such container: nobody"),
    ] {
        refused(w, "POST", "/containers/create", &create(host, json!({})), 400, says);
    }
    for (host, more, says) in [
        (
            json!({ "NetworkMode": "container:x" }),
            json!({ "Hostname": "h" }),
            "hostname and the network mode",
        ),
        (
            json!({ "NetworkMode": "container:x", "Dns": ["192.0.2.1"] }),
            json!({}),
            "dns and the network mode",
        ),
        (
            json!({ "NetworkMode": "container:x" }),
            json!({ "ExposedPorts": { "80/tcp": {} } }),
            "port exposing and the container type network mode",
        ),
        (
            json!({ "NetworkMode": "host", "Links": ["a:b"] }),
            json!({}),
            "host type networking can't be used with links",
        ),
        (
            json!({ "NetworkMode": "host" }),
            json!({ "MacAddress": "02:42:ac:11:00:09" }),
            "mac-address and the network mode",
        ),
    ] {
        let says = format!("conflicting options: {says}");
        refused(w, "POST", "/containers/create", &create(host, more), 400, &says);
    }
    // Links are shown by the names of now.
    w.run("db", json!({}));
    w.run("web", json!({ "HostConfig": { "Links": ["db:store"] } }));
    w.does("POST", "/containers/db/rename?name=base");
    let links = |name: &str| w.list(&format!("/containers/{name}/json"))["HostConfig"]["Links"].clone();
    assert_eq!(links("web"), json!(["/base:/web/store"]));
    assert_eq!(w.list("/containers/web/store/json")["Name"], "/base");
    let listed = w.list(&format!("/containers/json?{}", filter("name", "base")));
    assert_eq!(listed[0]["Names"], json!(["/base", "/web/store"]));
    w.gone(&["base"]);
    assert_eq!(links("web"), Value::Null);
    w.does("POST", "/containers/web/restart?t=0");
    // The form that is shown is taken, too.
    w.create("again", json!({ "HostConfig": { "Links": ["/web:/other/front"] } }));
    assert_eq!(links("again"), json!(["/web:/again/front"]));
    // A whole name in the hostname stands in its hosts with the first part.
    w.run("named", json!({ "Hostname": "host.example.com" }));
    assert!(w.exec("named", "cat /etc/hosts").contains("\thost.example.com host\n"));
    // Read-only is all of it.
    w.run("fixed", json!({ "HostConfig": { "ReadonlyRootfs": true } }));
    let tried = w.exec(
        "fixed",
        "for f in hosts hostname resolv.conf; do touch /etc/$f; done; mkdir /sys/fs/cgroup/x",
    );
    assert_eq!(
        tried.matches("Read-only file system").count(),
        tried.lines().count(),
        "{tried}"
    );
    // Cgroups are for looking, as far as they are shown at all.
    let tried = w.exec(
        "named",
        "for d in /sys/fs/cgroup/*/; do mkdir $d/made && echo made; done",
    );
    assert!(!tried.contains("\nmade") && !tried.starts_with("made"), "{tried}");
    // Who names a port has it before those that take any.
    let first = w.run("first", json!({ "HostConfig": { "PortBindings": { "80/tcp": [{}] } } }));
    let taken =
        w.list(&format!("/containers/{first}/json"))["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"].clone();
    let next: u16 = taken.as_str().expect("a port").parse::<u16>().expect("a port") + 1;
    let both = json!({ "80/tcp": [{}], "8080/tcp": [{ "HostPort": next.to_string() }] });
    w.run("second", json!({ "HostConfig": { "PortBindings": both } }));
}

#[test]
fn lists_and_news() {
    let w = &World::new(false);
    for (key, value, says) in [
        (
            "status",
            "rubbish",
            "invalid filter 'status=rubbish': invalid value for state (rubbish)",
        ),
        ("health", "fine", "invalid filter 'health=fine'"),
        (
            "exited",
            "x",
            "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
    ] {
        let path = format!("/containers/json?{}", filter(key, value));
        refused(w, "GET", &path, &Value::Null, 400, says);
    }
    // A name that has gone to another image is not shown for this one.
    w.does("POST", &format!("/images/{IMAGE}/tag?repo=moving&tag=1"));
    w.create("old", json!({ "Image": "moving:1" }));
    let image = |name: &str| w.list(&format!("/containers/json?all=1&{}", filter("name", name)))[0]["Image"].clone();
    assert_eq!(image("old"), "moving:1");
    w.does("DELETE", "/images/moving:1");
    let id = w.list("/containers/old/json")["Image"].clone();
    assert_eq!(image("old"), id);
    // Who names a repository saves all of it.
    w.does("POST", &format!("/images/{IMAGE}/tag?repo=house&tag=one"));
    w.does("POST", &format!("/images/{IMAGE}/tag?repo=house&tag=two"));
    let saved = w.raw(&format!("/v{NEWEST}/images/get?names=house"));
    let text = String::from_utf8_lossy(&saved).into_owned();
    assert!(text.contains("house:one") && text.contains("house:two"));
    // A load that is quiet is done when it is answered, though the client goes at once.
    w.does("DELETE", "/images/house:one");
    w.does("DELETE", "/images/house:two");
    let path = format!("/v{NEWEST}/images/load?quiet=1");
    drop(Connection::open(
        w,
        "POST",
        &path,
        &["Content-Type: application/x-tar"],
        &saved,
    ));
    assert_eq!(w.get("/images/house:two/json").status, 200);
    // A commit's changes know the variables.
    let path = "/commit?container=old&repo=kept&changes=ENV%20PATH%3D%2Fmine%3A%24PATH";
    w.json("POST", path, &json!({}));
    let env = w.list("/images/kept/json")["Config"]["Env"].clone();
    let found = env.as_array().into_iter().flatten().any(|entry| {
        let entry = entry.as_str().unwrap_or_default();
        entry.starts_with("PATH=/mine:") && !entry.contains('$')
    });
    assert!(found, "{env}");
    // An end alone has all before it.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a time");
    for since in ["", "since=0&"] {
        let only = filters(&json!({ "container": ["old"] }));
        let path = format!("/v{NEWEST}/events?{since}until={}&{only}", now.as_secs() + 1);
        let told = String::from_utf8_lossy(&w.raw(&path)).into_owned();
        assert!(told.contains("\"Action\":\"create\""), "{told}");
    }
    refused(
        w,
        "POST",
        "/images/create?fromImage=busybox&platform=foobar",
        &Value::Null,
        400,
        "\"foobar\": unknown operating system",
    );
    let odd = json!({ "Image": IMAGE, "Cmd": ["true"], "HostConfig": { "CpuShares": -1 } });
    refused(
        w,
        "POST",
        "/containers/create",
        &odd,
        400,
        "invalid CPU shares (-1): value must be a positive integer",
    );
    let odd = json!({ "Image": IMAGE, "Cmd": ["true"], "HostConfig": { "CpuPeriod": -3 } });
    refused(
        w,
        "POST",
        "/containers/create",
        &odd,
        400,
        "CPU cfs period can not be less than 1ms",
    );
}

#[test]
fn lives_between_two_runs() {
    let w = &World::new(false);
    w.run("frozen", json!({}));
    w.does("POST", "/containers/frozen/pause");
    let says = "cannot start a paused container, try unpause instead";
    refused(w, "POST", "/containers/frozen/start", &Value::Null, 409, says);
    w.gone(&["frozen"]);
    // Until it has run as often as it may, it is told to run or to be about to.
    let policy = json!({ "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 3 } });
    w.run("thrice", json!({ "Cmd": ["false"], "HostConfig": policy }));
    eventually("all its runs are over", PATIENCE, || {
        let shown = w.list("/containers/thrice/json");
        let idle = shown["State"]["Running"] == false && shown["State"]["Restarting"] == false;
        assert!(!idle || shown["RestartCount"] == 3, "{shown}");
        idle
    });
    // A kill between two runs is the end of them.
    w.run(
        "ever",
        json!({ "Cmd": ["false"], "HostConfig": { "RestartPolicy": { "Name": "always" } } }),
    );
    eventually("it is about to run again", PATIENCE, || {
        w.list("/containers/ever/json")["RestartCount"].as_i64() >= Some(2)
    });
    let ever = || w.list("/containers/ever/json")["State"]["Status"].clone();
    eventually("it is killed", PATIENCE, || {
        w.post("/containers/ever/kill").status == 204 || ever() == "exited"
    });
    eventually("it is over", PATIENCE, || ever() == "exited");
    // Who was limited without a word about swap has twice as much of both.
    w.run("small", json!({ "HostConfig": { "Memory": 64 << 20 } }));
    let more = json!({ "Memory": 256 << 20 });
    refused(
        w,
        "POST",
        "/containers/small/update",
        &more,
        409,
        "Memory limit should be smaller than already set memoryswap limit",
    );
}

#[test]
fn words_that_refuse() {
    let w = &World::new(false);
    let create = "/containers/create";
    refused(w, "POST", create, &json!({ "Env": [] }), 400, "no command specified");
    let odd = json!({ "Image": IMAGE, "Cmd": ["true"], "HostConfig": { "Annotations": { "": "x" } } });
    refused(
        w,
        "POST",
        create,
        &odd,
        400,
        "invalid Annotations: the empty string is not permitted",
    );
    let odd = w.at(NEWEST, "POST", create, &json!({ "Image": "busybox:sha256:12" }));
    assert_eq!((odd.status, odd.message().as_str()), (400, "invalid reference format"));
    let tag = format!("/images/{IMAGE}/tag?repo=sha256&tag=x");
    refused(
        w,
        "POST",
        &tag,
        &Value::Null,
        400,
        "refusing to create an ambiguous tag",
    );
    w.run("held", json!({}));
    refused(
        w,
        "POST",
        "/containers/held/rename?name=held",
        &Value::Null,
        400,
        "Renaming a container with the same name",
    );
    for (query, says) in [
        ("w=10", "invalid resize height \"\": invalid syntax"),
        ("h=10&w=x", "invalid resize width \"x\": invalid syntax"),
        ("h=-100&w=10", "invalid resize height \"-100\": value out of range"),
        (
            "h=4294967296&w=10",
            "invalid resize height \"4294967296\": value out of range",
        ),
    ] {
        refused(
            w,
            "POST",
            &format!("/containers/held/resize?{query}"),
            &Value::Null,
            400,
            says,
        );
    }
    w.does("POST", "/containers/held/pause");
    let says = "Container held is paused, unpause the container before exec";
    refused(
        w,
        "POST",
        "/containers/held/exec",
        &json!({ "Cmd": ["true"] }),
        409,
        says,
    );
    // What was not asked for is not there, and not empty.
    let used = w.list("/system/df?type=volume");
    assert_eq!(
        (&used["Images"], &used["Containers"], &used["BuildCache"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(used["Volumes"], json!([]));
}
