//! Runtimes by name, and what a shim weighs and how long it takes.

use crate::bed::*;
use gantry_proto_shim::{cgroups::metrics::Metrics, extras::failure::Kind as Failed, failure_kind, protobuf::Message};
use std::{
    fs,
    time::{Duration, Instant},
};

#[test]
fn runc_by_name_takes_the_same_road() {
    runtime().block_on(async {
        let mut bed = Bed::script("echo out; echo err >&2; exit 7").await;
        bed.options.runtime = "runc".into();
        bed.create().await.unwrap();
        let attached = bed.attach("", false).await;
        bed.start().await.unwrap();
        let (out, err, exit) = attached.rest().await;
        assert_eq!(
            (out.as_slice(), err.as_slice(), exit.status),
            (&b"out\n"[..], &b"err\n"[..], 7)
        );
        assert_eq!(bed.delete("").await.unwrap(), 7);

        let mut bed = Bed::script("sleep 100").await;
        bed.options.runtime = "runc".into();
        bed.run().await;
        for terminal in [false, true] {
            let name = format!("e{terminal}");
            bed.exec(&name, "echo hi; exit 3", "", terminal).await;
            let attached = bed.attach(&name, false).await;
            bed.start_exec(&name).await.unwrap();
            let (out, _, exit) = attached.rest().await;
            assert_eq!((String::from_utf8(out).unwrap().trim(), exit.status), ("hi", 3));
        }
        let request = gantry_proto_shim::api::PauseRequest {
            id: bed.id.clone(),
            ..Default::default()
        };
        bed.client.pause(context(), &request).await.unwrap();
        bed.kill("", libc::SIGKILL).await.unwrap();
        assert_eq!(bed.wait("").await, 137);
        bed.delete("").await.unwrap();

        let mut bed = Bed::new(&["nope"], |_| {}).await;
        bed.options.runtime = "runc".into();
        let error = bed.create().await.unwrap_err();
        assert_eq!(failure_kind(&error), Some(Failed::COMMAND_NOT_FOUND), "{error}");
        bed.options.runtime = "no-such-runtime".into();
        let error = bed.create().await.unwrap_err();
        assert!(error.to_string().contains("no-such-runtime"), "{error}");
    });
}

#[test]
fn what_it_uses_is_told() {
    runtime().block_on(async {
        let bed = Bed::script("head -c 5000000 /dev/zero > /dev/null; sleep 100").await;
        bed.run().await;
        let request = gantry_proto_shim::api::StatsRequest {
            id: bed.id.clone(),
            ..Default::default()
        };
        let stats = bed.client.stats(context(), &request).await.unwrap().stats.unwrap();
        if stats.type_url == "io.containerd.cgroups.v1.Metrics" {
            let metrics = Metrics::parse_from_bytes(&stats.value).unwrap();
            assert!(
                metrics.cpu.usage.total > 0 && metrics.pids.current > 0 && metrics.memory.usage.limit == 67_108_864,
                "{metrics}"
            );
        }
        let request = gantry_proto_shim::api::PidsRequest {
            id: bed.id.clone(),
            ..Default::default()
        };
        assert!(!bed.client.pids(context(), &request).await.unwrap().processes.is_empty());
        let resources = serde_json::json!({"memory": {"limit": 33_554_432}})
            .to_string()
            .into_bytes();
        let request = gantry_proto_shim::api::UpdateTaskRequest {
            id: bed.id.clone(),
            resources: Some(gantry_proto_shim::any(gantry_proto_shim::RESOURCES_TYPE, resources)).into(),
            ..Default::default()
        };
        bed.client.update(context(), &request).await.unwrap();
        bed.kill("", libc::SIGKILL).await.unwrap();
        bed.wait("").await;
        bed.delete("").await.unwrap();
    });
}

#[test]
fn a_poststop_hook_runs_after_the_end() {
    runtime().block_on(async {
        let told = tempfile::NamedTempFile::new().unwrap();
        let script = format!("cat > {}", told.path().display());
        let hooks = serde_json::json!({"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]});
        let bed = Bed::new(&["true"], |spec| spec["hooks"] = hooks).await;
        bed.run().await;
        bed.wait("").await;
        bed.delete("").await.unwrap();
        let state: serde_json::Value = serde_json::from_slice(&fs::read(told.path()).unwrap()).unwrap();
        assert_eq!((state["id"].as_str(), state["status"].as_str()), (Some(bed.id.as_str()), Some("stopped")));
    });
}

#[test]
fn it_weighs_little_and_takes_little_time() {
    runtime().block_on(async {
        let mut times = Vec::new();
        for _ in 0..10 {
            let begun = Instant::now();
            let bed = Bed::new(&["true"], |_| {}).await;
            let up = begun.elapsed();
            let begun = Instant::now();
            bed.create().await.unwrap();
            let created = begun.elapsed();
            bed.start().await.unwrap();
            let started = begun.elapsed();
            bed.wait("").await;
            let ended = begun.elapsed();
            bed.delete("").await.unwrap();
            times.push((begun.elapsed(), up, created, started, ended));
        }
        times.sort();
        println!(
            "total, (bundle and shim up), created, started, ended: {:?}",
            times[times.len() / 2]
        );
        let mut beds = Vec::new();
        for _ in 0..100 {
            let bed = Bed::script("head -c 1048576 /dev/zero | tr '\\0' 'x' | tr -s 'y' ; echo; sleep 1000").await;
            bed.run().await;
            bed.exec("e", "echo hi", "", false).await;
            let attached = bed.attach("e", false).await;
            bed.start_exec("e").await.unwrap();
            attached.rest().await;
            bed.delete("e").await.unwrap();
            beds.push(bed);
        }
        for bed in &beds {
            until("a megabyte is logged", || {
                fs::metadata(bed.log_path()).unwrap().len() > 1_048_576
            })
            .await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut sums = [0; 3];
        for bed in &beds {
            let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", bed.pid_of_shim())).unwrap();
            let value = |key: &str| {
                text.lines()
                    .find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse::<u64>().ok())
                    .unwrap()
            };
            sums[0] += value("Pss:");
            sums[1] += value("Private_Dirty:") + value("Private_Clean:");
            sums[2] += value("Rss:");
            let threads = fs::read_dir(format!("/proc/{}/task", bed.pid_of_shim()))
                .unwrap()
                .count();
            assert_eq!(threads, 1);
        }
        let [pss, private, rss] = sums.map(|sum| sum / beds.len() as u64);
        println!(
            "at {} containers: {pss} KiB PSS, {private} KiB private, {rss} KiB RSS",
            beds.len()
        );
        assert!(pss < 512, "{pss} KiB PSS");
        assert!(private < 1024, "{private} KiB private");
        for bed in &beds {
            bed.kill("", libc::SIGKILL).await.unwrap();
        }
        for bed in beds {
            bed.wait("").await;
            bed.delete("").await.unwrap();
            bed.shutdown().await;
        }
    });
}
