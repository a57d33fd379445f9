//! What callers other than gantryd ask for: loggers and files, several containers in one shim, runc's options, checkpoints.

use crate::bed::*;
use gantry_proto_shim::{
    TaskClient, TaskVersion,
    api::{CheckpointTaskRequest, DeleteRequest, StartRequest, WaitRequest},
    runc_options::Options,
    ttrpc::{self, Code},
};
use std::{fs, path::Path};

/// Takes both streams; says that it is ready as the second generation does if `word` is there.
fn logger(path: &Path, word: &str) {
    let script = format!(
        "echo \"$CONTAINER_ID $CONTAINER_NAMESPACE $(/usr/bin/env | /bin/grep -c CONTAINER_)\" > $1.env\n{word}\nexec 5>&-\n/bin/cat <&4 > $1.err &\n/bin/cat <&3 > $1.out\nwait\n"
    );
    fs::write(path, script).unwrap();
}

#[test]
fn loggers_take_the_output() {
    runtime().block_on(async {
        for (scheme, word) in [("binary", ""), ("binary-v2", "printf r >&5")] {
            let bed = Bed::script("echo out; echo err >&2; exit 4").await;
            let (script, log) = (bed.path("logger.sh"), bed.path("log"));
            logger(&script, word);
            let name = format!("{scheme}:///bin/sh?{}={}", script.display(), log.display());
            let mut request = bed.create_request();
            request.options = None.into();
            request.stdout.clone_from(&name);
            request.stderr = name;
            bed.client.create(context(), &request).await.unwrap();
            bed.start().await.unwrap();
            assert_eq!(bed.wait("").await, 4);
            bed.delete("").await.unwrap();
            let read = |kind: &str| fs::read_to_string(log.with_extension(kind)).unwrap_or_default();
            until("the logger has it all", || {
                read("out") == "out\n" && read("err") == "err\n"
            })
            .await;
            assert_eq!(read("env"), format!("{} test 2\n", bed.id));
        }
        let bed = Bed::script("true").await;
        let script = bed.path("logger.sh");
        logger(&script, "");
        let mut request = bed.create_request();
        request.stdout = format!("binary-v2:///bin/sh?{}={}", script.display(), bed.path("log").display());
        let error = bed.client.create(context(), &request).await.unwrap_err();
        assert!(error.to_string().contains("ready pipe"), "{error}");
    });
}

#[test]
fn files_take_the_output() {
    runtime().block_on(async {
        let bed = Bed::script("echo out; echo err >&2").await;
        let log = bed.path("deep/er/log");
        let mut request = bed.create_request();
        request.options = None.into();
        request.stdout = format!("file://{}", log.display());
        request.stderr.clone_from(&request.stdout);
        bed.client.create(context(), &request).await.unwrap();
        bed.start().await.unwrap();
        assert_eq!(bed.wait("").await, 0);
        let text = fs::read_to_string(&log).unwrap();
        assert!(text == "out\nerr\n" || text == "err\nout\n", "{text}");
        bed.delete("").await.unwrap();
    });
}

#[test]
fn pipes_belong_to_whom_the_options_say() {
    runtime().block_on(async {
        let bed = Bed::script("ls -lnL /proc/self/fd/1").await;
        let pipe = bed.path("out");
        crate::streams::nix_mkfifo(&pipe);
        let mut request = bed.create_request();
        let options = Options {
            io_gid: 4321,
            no_new_keyring: true,
            no_pivot_root: true,
            ..Default::default()
        };
        let value = gantry_proto_shim::protobuf::Message::write_to_bytes(&options).unwrap();
        request.options = Some(gantry_proto_shim::any("containerd.runc.v1.Options", value)).into();
        request.stdout = pipe.display().to_string();
        let reader = std::thread::spawn(move || fs::read_to_string(pipe).unwrap());
        bed.client.create(context(), &request).await.unwrap();
        bed.start().await.unwrap();
        assert_eq!(bed.wait("").await, 0);
        bed.delete("").await.unwrap();
        let told = reader.join().unwrap();
        assert!(told.starts_with('p') && told.contains(" 4321 "), "{told}");
    });
}

fn code(error: &ttrpc::Error) -> Code {
    match error {
        ttrpc::Error::RpcStatus(status) => status.code.enum_value().unwrap(),
        other => panic!("{other}"),
    }
}

#[test]
fn what_the_builtin_runtime_lacks_is_refused_by_name() {
    runtime().block_on(async {
        let bed = Bed::script("sleep 100").await;
        let asked = [
            (
                "root",
                Options {
                    root: "/run/r".into(),
                    ..Default::default()
                },
            ),
            (
                "systemd_cgroup",
                Options {
                    systemd_cgroup: true,
                    ..Default::default()
                },
            ),
            (
                "criu_work_path",
                Options {
                    criu_work_path: "/run/r".into(),
                    ..Default::default()
                },
            ),
        ];
        for (name, options) in asked {
            let error = bed.create_with(&options).await.unwrap_err();
            assert!(
                error.to_string().contains(name) && code(&error) == Code::UNIMPLEMENTED,
                "{error}"
            );
        }
        let mut request = bed.create_request();
        request.checkpoint = bed.path("image").display().to_string();
        let error = bed.client.create(context(), &request).await.unwrap_err();
        assert_eq!(code(&error), Code::UNIMPLEMENTED, "{error}");
        bed.run().await;
        let error = bed.client.checkpoint(context(), &checkpoint(&bed)).await.unwrap_err();
        assert_eq!(code(&error), Code::UNIMPLEMENTED, "{error}");
        bed.kill("", libc::SIGKILL).await.unwrap();
        bed.wait("").await;
        bed.delete("").await.unwrap();
    });
}

fn checkpoint(bed: &Bed) -> CheckpointTaskRequest {
    CheckpointTaskRequest {
        id: bed.id.clone(),
        path: bed.path("image").display().to_string(),
        ..Default::default()
    }
}

/// Here criu is missing or does not start: both fail as runc says, in the class in which containerd's own shim fails.
#[test]
fn runc_keeps_its_state_where_it_is_told_and_asks_criu() {
    runtime().block_on(async {
        let bed = Bed::script("sleep 100").await;
        let root = bed.path("runc");
        let options = Options {
            binary_name: "runc".into(),
            root: root.display().to_string(),
            no_new_keyring: true,
            ..Default::default()
        };
        bed.create_with(&options).await.unwrap();
        bed.start().await.unwrap();
        assert!(root.join("test").join(&bed.id).is_dir());
        match bed.client.checkpoint(context(), &checkpoint(&bed)).await {
            Ok(_) => assert!(bed.path("image").is_dir()),
            Err(error) => assert!(
                code(&error) == Code::UNKNOWN && error.to_string().contains("criu"),
                "{error}"
            ),
        }
        bed.kill("", libc::SIGKILL).await.unwrap();
        bed.wait("").await;
        bed.delete("").await.unwrap();

        let bed = Bed::script("sleep 100").await;
        let mut request = bed.create_request();
        request.checkpoint = bed.path("no-image").display().to_string();
        let value = gantry_proto_shim::protobuf::Message::write_to_bytes(&options).unwrap();
        request.options = Some(gantry_proto_shim::any("containerd.runc.v1.Options", value)).into();
        assert_eq!(bed.client.create(context(), &request).await.unwrap().pid, 0);
        let error = bed.start().await.unwrap_err();
        assert_eq!(code(&error), Code::UNKNOWN, "{error}");
        bed.delete("").await.unwrap();
    });
}

#[test]
fn several_containers_share_a_shim_and_are_deleted_alone() {
    runtime().block_on(async {
        let grouped = |spec: &mut serde_json::Value| {
            spec["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod"});
        };
        let bed = Bed::new(&["/bin/sh", "-c", "sleep 100"], grouped).await;
        bed.run().await;
        let (id, bundle) = (format!("{}-two", bed.id), bed.path("bundle2"));
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        let mut second = spec(&id, &["/bin/sh", "-c", "exit 9"]);
        grouped(&mut second);
        fs::write(bundle.join("config.json"), second.to_string()).unwrap();
        let output = shim(bed.dir.path(), &bundle, &id, "start");
        let address = String::from_utf8(output.stdout).unwrap();
        assert_eq!(address, fs::read_to_string(bed.bundle().join("address")).unwrap());
        let connected = ttrpc::r#async::Client::connect(&address).await.unwrap();
        let client = TaskClient::new(connected, TaskVersion::V2);
        let mut request = bed.create_request();
        request.id.clone_from(&id);
        request.bundle = bundle.display().to_string();
        request.options = None.into();
        for option in &mut request.rootfs[0].options {
            *option = option.replace("/upper", "/upper2").replace("/work", "/work2");
        }
        for name in ["upper2", "work2"] {
            fs::create_dir(bed.path(name)).unwrap();
        }
        client.create(context(), &request).await.unwrap();
        let start = StartRequest {
            id: id.clone(),
            ..Default::default()
        };
        client.start(context(), &start).await.unwrap();
        let wait = WaitRequest {
            id: id.clone(),
            ..Default::default()
        };
        assert_eq!(client.wait(context(), &wait).await.unwrap().exit_status, 9);
        let delete = DeleteRequest {
            id: id.clone(),
            ..Default::default()
        };
        assert_eq!(client.delete(context(), &delete).await.unwrap().exit_status, 9);
        // It stays for the other one.
        bed.shutdown().await;
        assert_eq!(bed.status().await, gantry_proto_shim::api::Status::RUNNING);
        bed.kill("", libc::SIGKILL).await.unwrap();
        assert_eq!(bed.wait("").await, 137);
        bed.delete("").await.unwrap();
    });
}

#[test]
fn it_says_who_it_is_and_answers_in_the_callers_generation() {
    use gantry_proto_shim::{introspection::RuntimeInfo, protobuf::Message};
    let said = std::process::Command::new(SHIM).arg("-info").output().unwrap().stdout;
    let info = RuntimeInfo::parse_from_bytes(&said).unwrap();
    let features: serde_json::Value = serde_json::from_slice(&info.features.value).unwrap();
    assert_eq!(
        (info.name.as_str(), &features["linux"]["cgroup"]["v1"]),
        ("io.containerd.gantry.v1", &true.into())
    );

    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle");
    fs::create_dir(&bundle).unwrap();
    let id = format!("g{}", std::process::id());
    let output = shim_command(dir.path(), &bundle, &id, "start")
        .env("MAX_SHIM_VERSION", "3")
        .output()
        .unwrap();
    let pid = fs::read_to_string(bundle.join("shim.pid")).unwrap();
    std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
    let reply: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&reply["version"], &reply["protocol"]),
        (&3.into(), &"ttrpc".into()),
        "{reply}"
    );
    assert_eq!(fs::read(bundle.join("bootstrap.json")).unwrap(), output.stdout);
}
