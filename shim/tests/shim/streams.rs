//! Bytes: lossless to every client, to the log through rotation, in from stdin.

use crate::bed::*;
use gantry_proto_attach::Kind;
use gantry_proto_shim::{api::ResizePtyRequest, extras::ProcessRequest};
use gantry_shim_protocol::log::Line;
use std::{
    fs,
    io::Read,
    time::{Duration, Instant},
};

/// A cheap sum over bytes that notices order, loss and change.
#[derive(Default, PartialEq, Debug, Clone, Copy)]
struct Sum {
    bytes: u64,
    sum: u64,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        for byte in bytes {
            self.sum = self.sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(*byte);
        }
    }
}

async fn sum_of(mut attached: Attached, stop_at: Option<u64>) -> (Sum, u32) {
    let (mut sum, mut stop) = (Sum::default(), stop_at);
    loop {
        let frame = attached.next().await.expect("an exit frame before the end");
        match frame.kind {
            Kind::Output => sum.add(&frame.payload),
            Kind::Exit => return (sum, frame.json::<gantry_proto_attach::Exit>().unwrap().status),
            other => panic!("{other:?}"),
        }
        if stop.is_some_and(|stop| sum.bytes > stop) {
            stop = None;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
}

#[test]
fn every_client_gets_every_byte_however_slow_it_is() {
    runtime().block_on(async {
        let mut bed = Bed::script("head -c 209715200 /src").await;
        bed.options.log.as_mut().unwrap().driver = "none".into();
        // 200 MB that no two places of are alike.
        let mut seed = 88_172_645_463_325_252_u64;
        let mut source = Vec::with_capacity(209_715_200);
        while source.len() < 209_715_200 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            source.extend_from_slice(&seed.to_le_bytes());
        }
        fs::write(bed.path("lower/src"), &source).unwrap();
        let mut wanted = Sum::default();
        wanted.add(&source);
        drop(source);
        bed.create().await.unwrap();
        let clients = [
            bed.attach("", false).await,
            bed.attach("", false).await,
            bed.attach("", false).await,
        ];
        let [one, two, three] = clients;
        bed.start().await.unwrap();
        let begun = Instant::now();
        // As `--rm` does: deleted and shut down the moment it ends, with clients far behind.
        let remove = async {
            assert_eq!(bed.wait("").await, 0);
            bed.delete("").await.unwrap();
            bed.shutdown().await;
        };
        let state = async {
            let request = ProcessRequest {
                id: bed.id.clone(),
                ..Default::default()
            };
            loop {
                match bed.extras.attach_state(context(), &request).await {
                    Ok(state) if state.held_back => return true,
                    Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(_) => return false,
                }
            }
        };
        let (one, two, three, (), held_back) = tokio::join!(
            sum_of(one, None),
            sum_of(two, Some(1_000_000)),
            sum_of(three, None),
            remove,
            state
        );
        assert_eq!([one, two, three], [(wanted, 0); 3]);
        assert!(held_back, "a client that stands still holds back the writer");
        println!("200 MB to three clients, one stopped for 3 s: {:?}", begun.elapsed());
    });
}

#[test]
fn the_log_has_every_line_in_order_through_rotation() {
    runtime().block_on(async {
        let mut bed = Bed::script("seq 1 300000").await;
        let log = bed.options.log.as_mut().unwrap();
        log.max_size = 4 * 1024 * 1024;
        log.max_file = 20;
        bed.run().await;
        assert_eq!(bed.wait("").await, 0);
        let live = bed.log_path();
        let rotated = |number: u32, end: &str| format!("{}.{number}{end}", live.display());
        until("all are compressed", || {
            (1..20).all(|number| !fs::exists(rotated(number, "")).unwrap())
                && !fs::exists(format!("{}.gz.tmp", live.display())).unwrap()
        })
        .await;
        let mut text = String::new();
        for number in (1..20).rev() {
            if let Ok(file) = fs::File::open(rotated(number, ".gz")) {
                flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
            }
        }
        text.push_str(&fs::read_to_string(&live).unwrap());
        let mut number = 0;
        for line in text.lines() {
            number += 1;
            assert_eq!(serde_json::from_str::<Line>(line).unwrap().log, format!("{number}\n"));
        }
        assert_eq!(number, 300_000);
        bed.delete("").await.unwrap();
    });
}

#[test]
fn a_full_log_disk_stops_nobody() {
    runtime().block_on(async {
        let bed = Bed::script("while ! ls /go >/dev/null 2>&1; do sleep 0.01; done; seq 1 40000; touch /done; while ! ls /more >/dev/null 2>&1; do sleep 0.01; done; echo last").await;
        let mut bed = bed;
        let small = bed.path("small");
        fs::create_dir(&small).unwrap();
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(&small).status().unwrap();
        assert!(mounted.success());
        let path = small.join("c.log");
        bed.options.log.as_mut().unwrap().path = path.display().to_string();
        bed.run().await;
        let root = format!("/proc/{}/root", bed.first_pid().await);
        fs::write(format!("{root}/go"), "").unwrap();
        until("the process is not stopped", || fs::exists(format!("{root}/done")).unwrap()).await;
        let lost = || async {
            let request = gantry_proto_shim::extras::ContainerRequest { id: bed.id.clone(), ..Default::default() };
            bed.extras.log_state(context(), &request).await.unwrap().lost
        };
        let (mut before, mut quiet) = (0, 0);
        while before == 0 || quiet < 10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = lost().await;
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
        }
        let first = fs::read_to_string(&path).unwrap();
        // Room comes back: someone takes the log away.
        fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        fs::write(format!("{root}/more"), "").unwrap();
        assert_eq!(bed.wait("").await, 0);
        bed.delete("").await.unwrap();
        let text = first + &fs::read_to_string(&path).unwrap();
        let _ = std::process::Command::new("umount").arg(&small).status();
        assert!(text.contains("[gantry] bytes of output lost") && text.contains("last"), "{}", &text[text.len().saturating_sub(500)..]);
    });
}

#[test]
fn a_client_that_leaves_ends_held_stdin_once_only() {
    runtime().block_on(async {
        let mut bed = Bed::new(&["/bin/cat"], |_| {}).await;
        bed.options.open_stdin = true;
        bed.run().await;
        let mut first = bed.attach("", true).await;
        first.input(b"one\n").await;
        first.expect("one").await;
        drop(first);
        let mut second = bed.attach("", true).await;
        second.input(b"two\n").await;
        second.expect("two").await;
        let request = gantry_proto_shim::api::CloseIORequest {
            id: bed.id.clone(),
            stdin: true,
            ..Default::default()
        };
        bed.client.close_io(context(), &request).await.unwrap();
        let (_, _, exit) = second.rest().await;
        assert_eq!(exit.status, 0);
        bed.delete("").await.unwrap();
    });
}

#[test]
fn a_lot_of_stdin_goes_through_unchanged() {
    runtime().block_on(async {
        let bed = Bed::script("sleep 100").await;
        bed.run().await;
        bed.exec("e", "cat", gantry_shim_protocol::stdio::HELD_ONCE, false)
            .await;
        let attached = bed.attach("e", true).await;
        bed.start_exec("e").await.unwrap();
        let bytes: Vec<u8> = (0..3_000_000u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let hello = bytes.clone();
        // Written and read at once, for cat stops reading when nobody takes its output.
        let (read, mut write) = attached.split();
        let writing = async move {
            for piece in hello.chunks(50_000) {
                tokio::io::AsyncWriteExt::write_all(&mut write, &gantry_proto_attach::encode(Kind::Stdin, 0, piece))
                    .await
                    .unwrap();
            }
            tokio::io::AsyncWriteExt::write_all(&mut write, &gantry_proto_attach::encode(Kind::StdinEof, 0, &[]))
                .await
                .unwrap();
            write
        };
        let ((out, _, exit), _write) = tokio::join!(read.rest(), writing);
        assert!(out == bytes, "{} of {}", out.len(), bytes.len());
        assert_eq!(exit.status, 0);
        bed.kill("", libc::SIGKILL).await.unwrap();
        bed.wait("").await;
        bed.delete("").await.unwrap();
    });
}

#[test]
fn named_pipes_serve_a_foreign_caller() {
    runtime().block_on(async {
        let bed = Bed::script("cat; echo err >&2; exit 6").await;
        let pipes = ["in", "out", "err"].map(|name| bed.path(name));
        for pipe in &pipes {
            nix_mkfifo(pipe);
        }
        let mut request = bed.create_request();
        request.options = None.into();
        [&mut request.stdin, &mut request.stdout, &mut request.stderr]
            .into_iter()
            .zip(&pipes)
            .for_each(|(name, pipe)| *name = pipe.display().to_string());
        let [input, out, err] = pipes;
        let reader = |path: std::path::PathBuf| std::thread::spawn(move || fs::read_to_string(path).unwrap());
        let (out, err) = (reader(out), reader(err));
        bed.client.create(context(), &request).await.unwrap();
        bed.start().await.unwrap();
        let writer = std::thread::spawn(move || fs::write(input, "through a pipe\n").unwrap());
        assert_eq!(bed.wait("").await, 6);
        writer.join().unwrap();
        assert_eq!(
            (out.join().unwrap().as_str(), err.join().unwrap().as_str()),
            ("through a pipe\n", "err\n")
        );
        bed.delete("").await.unwrap();
        for name in ["syslog:///log", "binary:///no/such/logger?a=b"] {
            let mut request = bed.create_request();
            request.stdout = name.into();
            let error = bed.client.create(context(), &request).await.unwrap_err().to_string();
            let named = name.trim_start_matches("binary://").split('?').next().unwrap();
            assert!(error.contains(named), "{error}");
        }
    });
}

pub fn nix_mkfifo(path: &std::path::Path) {
    assert!(
        std::process::Command::new("mkfifo")
            .arg(path)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn descriptors_are_kept_for_the_daemon() {
    use std::os::fd::{AsRawFd, FromRawFd};
    runtime().block_on(async {
        let bed = Bed::script("true").await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let names = gantry_proto_attach::Names {
            names: vec!["port/tcp".into()],
        };
        let mut talk = bed.converse().await;
        let frame = gantry_proto_attach::encode_json(Kind::Put, &names);
        let fds = [listener.as_raw_fd()];
        let messages = [nix::sys::socket::ControlMessage::ScmRights(&fds)];
        let parts = [std::io::IoSlice::new(&frame)];
        nix::sys::socket::sendmsg::<nix::sys::socket::UnixAddr>(
            talk.stream.as_raw_fd(),
            &parts,
            &messages,
            nix::sys::socket::MsgFlags::empty(),
            None,
        )
        .unwrap();
        assert_eq!(talk.next().await.unwrap().kind, Kind::Kept);
        drop((talk, listener));
        assert!(std::net::TcpListener::bind(address).is_err(), "the port stays reserved");
        let empty = Default::default();
        assert_eq!(
            bed.extras.descriptors(context(), &empty).await.unwrap().names,
            ["port/tcp"]
        );
        let talk = bed.converse().await.stream.into_std().unwrap();
        talk.set_nonblocking(false).unwrap();
        std::io::Write::write_all(&mut &talk, &gantry_proto_attach::encode_json(Kind::Take, &names)).unwrap();
        let mut buffer = [0; 1000];
        let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
        let mut space = nix::cmsg_space!([i32; 4]);
        let message = nix::sys::socket::recvmsg::<nix::sys::socket::UnixAddr>(
            talk.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            nix::sys::socket::MsgFlags::empty(),
        )
        .unwrap();
        let back = message.cmsgs().unwrap().find_map(|part| match part {
            nix::sys::socket::ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        // SAFETY: the descriptor came with this message and belongs to nobody else.
        let back = unsafe { std::net::TcpListener::from_raw_fd(back.unwrap()) };
        assert_eq!(back.local_addr().unwrap(), address);
        drop(back);
        let request = gantry_proto_shim::extras::DropDescriptorsRequest {
            names: names.names,
            ..Default::default()
        };
        bed.extras.drop_descriptors(context(), &request).await.unwrap();
        // A child that another test forks at this moment has a copy of ours until it execs.
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = std::net::TcpListener::bind(address) {
            assert!(Instant::now() < deadline, "the port is let go: {error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn a_resize_over_the_task_service_is_seen() {
    runtime().block_on(async {
        let bed = Bed::script("sleep 100").await;
        bed.run().await;
        bed.exec("t", "while true; do stty size; sleep 0.02; done", "", true)
            .await;
        let mut attached = bed.attach("t", false).await;
        bed.start_exec("t").await.unwrap();
        let request = ResizePtyRequest {
            id: bed.id.clone(),
            exec_id: "t".into(),
            width: 77,
            height: 22,
            ..Default::default()
        };
        bed.client.resize_pty(context(), &request).await.unwrap();
        attached.expect("22 77").await;
        bed.kill("t", libc::SIGKILL).await.unwrap();
        assert_eq!(bed.wait("t").await, 137);
        bed.kill("", libc::SIGKILL).await.unwrap();
        bed.wait("").await;
        bed.delete("").await.unwrap();
    });
}
