//! Golden checks against documented facts, and checks of what must hold for every input.

use super::*;
use crate::container::{BindMount, NetworkMode};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, PosixRlimitType, Process};

/// This kind of machine: everything but CAP_SYS_RESOURCE.
pub(super) fn facts() -> HostFacts {
    HostFacts {
        bounding: CapSet(0x1ff_feff_ffff),
        cgroup: Cgroup::Hybrid,
        kernel: (6, 1),
        arch: "amd64".to_owned(),
        seccomp: true,
        devices: vec![LinuxDevice::default()],
        rlimits: [("nofile".to_owned(), Limits { soft: 1024, hard: 4096 })].into(),
        oom_score_adj: 0,
        nr_open: 1 << 20,
        cpus: 2,
        cpuset_cpus: "0-1".to_owned(),
        cpuset_mems: "0".to_owned(),
        swap_limit: true,
        block_files: Default::default(),
        real_time: true,
        apparmor_profile: None,
        masked: vec!["/sys/devices/system/cpu/cpu0/thermal_throttle".to_owned()],
    }
}

struct Case {
    id: ContainerId,
    args: Vec<String>,
    config: ContainerConfig,
    host: HostConfig,
    defaults: Defaults,
    facts: HostFacts,
}

impl Case {
    fn new(host: HostConfig) -> Self {
        Case {
            id: ContainerId::from_random([0xab; 32]),
            args: vec!["sh".to_owned()],
            config: ContainerConfig::default(),
            host,
            defaults: Defaults::default(),
            facts: facts(),
        }
    }

    fn build(&self) -> Result<(Spec, Vec<Warning>)> {
        let input = SpecInput {
            id: &self.id,
            args: &self.args,
            config: &self.config,
            linked: &[],
            host: &self.host,
            user: ResolvedUser::root(),
            network: match self.host.network_mode {
                NetworkMode::Host => Network::Host,
                _ => Network::Private,
            },
            shared: Shared::default(),
            etc: EtcFiles {
                hosts: Some("/h/hosts".into()),
                ..EtcFiles::default()
            },
            cgroups_path: "/gantry/ab".into(),
            hooks: None,
            umask: None,
            defaults: &self.defaults,
        };
        build(&input, &self.facts)
    }

    fn spec(&self) -> Spec {
        self.build().unwrap().0
    }

    fn error(&self) -> String {
        self.build().unwrap_err().to_string()
    }
}

fn host() -> HostConfig {
    HostConfig::default()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn process(spec: &Spec) -> &Process {
    spec.process().as_ref().unwrap()
}

fn cap_names(spec: &Spec) -> Vec<String> {
    let set = process(spec)
        .capabilities()
        .as_ref()
        .unwrap()
        .bounding()
        .as_ref()
        .unwrap();
    let mut names: Vec<String> = set.iter().map(|cap| format!("CAP_{cap}")).collect();
    names.sort();
    names
}

fn seccomp_of(spec: &Spec) -> Option<&LinuxSeccomp> {
    spec.linux().as_ref().unwrap().seccomp().as_ref()
}

fn allowed<'a>(filter: &'a LinuxSeccomp, name: &str) -> Vec<&'a oci_spec::runtime::LinuxSyscall> {
    let by_name = |rule: &&oci_spec::runtime::LinuxSyscall| rule.names().iter().any(|known| known == name);
    filter.syscalls().iter().flatten().filter(by_name).collect()
}

#[test]
fn kernel_memory_is_ignored_with_a_warning() {
    let (plain, _) = Case::new(host()).build().unwrap();
    let asked = HostConfig {
        kernel_memory: 50 << 20,
        ..host()
    };
    let (spec, warnings) = Case::new(asked).build().unwrap();
    assert_eq!(spec, plain);
    assert!(warnings[0].contains("kernel memory limit is ignored"), "{warnings:?}");
}

#[test]
fn defaults_are_dockers() {
    let (spec, warnings) = Case::new(host()).build().unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let mut fourteen = strings(&caps::DEFAULT);
    fourteen.sort();
    assert_eq!(cap_names(&spec), fourteen);
    let linux = spec.linux().as_ref().unwrap();
    let kinds: Vec<String> = linux
        .namespaces()
        .iter()
        .flatten()
        .map(|ns| ns.typ().to_string())
        .collect();
    assert_eq!(kinds, ["mnt", "uts", "ipc", "pid", "net"]);
    let targets: Vec<String> = spec
        .mounts()
        .iter()
        .flatten()
        .map(|mount| mount.destination().display().to_string())
        .collect();
    assert_eq!(
        targets,
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/mqueue",
            "/dev/shm",
            "/etc/hosts"
        ]
    );
    let masked = linux.masked_paths().as_ref().unwrap();
    for path in [
        "/proc/kcore",
        "/proc/keys",
        "/sys/firmware",
        "/sys/devices/system/cpu/cpu0/thermal_throttle",
    ] {
        assert!(masked.iter().any(|other| other == path), "{path}");
    }
    assert_eq!(linux.readonly_paths().as_ref().unwrap().len(), 5);
    assert_eq!(
        linux.sysctl().as_ref().unwrap()["net.ipv4.ip_unprivileged_port_start"],
        "0"
    );
    let rules = linux.resources().as_ref().unwrap().devices().as_ref().unwrap();
    assert_eq!(rules[0].to_string(), "a *:* rwm");
    assert!(!rules[0].allow() && rules[1..].iter().all(|rule| rule.allow()));
    assert_eq!(
        process(&spec).env().as_ref().unwrap(),
        &strings(&[env::PATH, "HOSTNAME=abababababab", "HOME=/root"])
    );
    assert_eq!(process(&spec).oom_score_adj(), Some(0));
    assert_eq!(process(&spec).no_new_privileges(), Some(false));
    assert!(process(&spec).rlimits().is_none());
    serde_json::to_string(&spec).expect("it is what the runtime reads");
}

#[test]
fn cgroup_v2_and_host_network() {
    let mut case = Case::new(HostConfig {
        network_mode: NetworkMode::Host,
        ..host()
    });
    case.facts.cgroup = Cgroup::V2;
    let spec = case.spec();
    let linux = spec.linux().as_ref().unwrap();
    let kinds: Vec<String> = linux
        .namespaces()
        .iter()
        .flatten()
        .map(|ns| ns.typ().to_string())
        .collect();
    assert_eq!(kinds, ["mnt", "uts", "ipc", "pid", "cgroup"]);
    assert!(linux.sysctl().is_none(), "sysctls of the host's network are left alone");
    case.host.cgroupns_mode = "other".to_owned();
    assert!(case.error().contains("invalid cgroup namespace mode: other"));
}

#[test]
fn no_capability_is_outside_the_bounding_set() {
    let adds = [&[][..], &["ALL"], &["SYS_ADMIN"], &["all", "cap_net_admin"]];
    let drops = [&[][..], &["ALL"], &["CHOWN"], &["cap_kill", "ALL"]];
    // A few sets, empty and full among them.
    for bounding in [0, u64::MAX, 0x1ff_feff_ffff, 0xa804_25fb, 0x1_0000_0001] {
        for (add, drop) in adds.iter().flat_map(|add| drops.iter().map(move |drop| (add, drop))) {
            for privileged in [false, true] {
                let mut case = Case::new(HostConfig {
                    cap_add: strings(add),
                    cap_drop: strings(drop),
                    privileged,
                    ..host()
                });
                case.facts.bounding = CapSet(bounding);
                if let Ok((spec, _)) = case.build() {
                    let got = cap_names(&spec);
                    let got = CapSet::of(got.iter().map(String::as_str));
                    assert!(
                        got.without(CapSet(bounding)).is_empty(),
                        "{add:?} {drop:?} {bounding:x}"
                    );
                }
            }
        }
    }
}

#[test]
fn capability_rules() {
    let caps = |add: &[&str], drop: &[&str]| {
        cap_names(
            &Case::new(HostConfig {
                cap_add: strings(add),
                cap_drop: strings(drop),
                ..host()
            })
            .spec(),
        )
    };
    assert_eq!(caps(&["net_admin"], &["ALL"]), ["CAP_NET_ADMIN"]);
    assert!(caps(&[], &["all"]).is_empty());
    assert_eq!(
        caps(&["ALL"], &["SYS_ADMIN"]).len(),
        39,
        "41 without SYS_RESOURCE and SYS_ADMIN"
    );
    assert_eq!(caps(&["CAP_SYS_TIME"], &["MKNOD"]).len(), 14);
    let error = |add: &str| {
        Case::new(HostConfig {
            cap_add: strings(&[add]),
            ..host()
        })
        .error()
    };
    assert_eq!(error("FLY"), "invalid CapAdd: unknown capability: \"CAP_FLY\"");
    assert!(error("sys_resource").contains("\"CAP_SYS_RESOURCE\""));
    let dropped = Case::new(HostConfig {
        cap_drop: strings(&["FLY"]),
        ..host()
    })
    .error();
    assert_eq!(dropped, "invalid CapDrop: unknown capability: \"CAP_FLY\"");
}

#[test]
fn privileged_gives_what_there_is() {
    let (spec, warnings) = Case::new(HostConfig {
        privileged: true,
        ..host()
    })
    .build()
    .unwrap();
    assert_eq!(cap_names(&spec).len(), 40);
    assert!(
        warnings.iter().any(|text| text.contains("CAP_SYS_RESOURCE")),
        "{warnings:?}"
    );
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.seccomp().is_none() && linux.masked_paths().is_none() && linux.readonly_paths().is_none());
    assert_eq!(linux.devices().as_ref().unwrap().len(), 1);
    let options = |path: &str| {
        let mount = spec
            .mounts()
            .iter()
            .flatten()
            .find(|mount| mount.destination().to_str() == Some(path))
            .unwrap();
        mount.options().clone().unwrap()
    };
    assert!(options("/sys").contains(&"rw".to_owned()) && options("/sys/fs/cgroup").contains(&"rw".to_owned()));
    let rules = linux.resources().as_ref().unwrap().devices().as_ref().unwrap();
    assert_eq!(rules.len(), 1);
    assert!(rules[0].allow());
}

#[test]
fn the_default_filter() {
    let spec = Case::new(host()).spec();
    let filter = seccomp_of(&spec).unwrap();
    assert_eq!(filter.default_action(), LinuxSeccompAction::ScmpActErrno);
    assert_eq!(filter.default_errno_ret(), Some(1));
    assert_eq!(filter.architectures().as_ref().unwrap().len(), 3);
    let count = filter.syscalls().as_ref().unwrap().len();
    assert!(count <= 12, "rules that end alike are joined, {count}");
    for name in [
        "read",
        "execve",
        "ptrace",
        "chroot",
        "arch_prctl",
        "futex_waitv",
        "openat2",
    ] {
        assert_eq!(allowed(filter, name).len(), 1, "{name}");
    }
    for name in [
        "mount",
        "unshare",
        "bpf",
        "reboot",
        "keyctl",
        "io_uring_setup",
        "kexec_load",
        "open_by_handle_at",
    ] {
        assert!(allowed(filter, name).is_empty(), "{name}");
    }
    let clone = allowed(filter, "clone");
    let arg = clone[0].args().as_ref().unwrap()[0];
    assert_eq!((clone.len(), arg.value(), arg.value_two()), (1, 0x7e02_0000, Some(0)));
    assert_eq!(allowed(filter, "clone3")[0].errno_ret(), Some(38));
    assert_eq!(allowed(filter, "personality").len(), 5);
    assert_eq!(allowed(filter, "socket")[0].args().as_ref().unwrap()[0].value(), 40);
}

#[test]
fn the_filter_follows_capabilities_architecture_and_kernel() {
    let spec = Case::new(HostConfig {
        cap_add: strings(&["SYS_ADMIN"]),
        ..host()
    })
    .spec();
    let filter = seccomp_of(&spec).unwrap();
    assert!(!allowed(filter, "mount").is_empty() && !allowed(filter, "clone3").is_empty());
    assert!(allowed(filter, "clone").iter().all(|rule| rule.args().is_none()));
    let mut case = Case::new(host());
    case.facts.arch = "s390x".to_owned();
    case.facts.kernel = (4, 4);
    let spec = case.spec();
    let filter = seccomp_of(&spec).unwrap();
    assert_eq!(allowed(filter, "clone")[0].args().as_ref().unwrap()[0].index(), 1);
    assert!(allowed(filter, "ptrace").is_empty() && allowed(filter, "arch_prctl").is_empty());
}

#[test]
fn a_profile_of_the_users() {
    let with = |profile: &str| {
        Case::new(HostConfig {
            security_opt: vec![format!("seccomp={profile}")],
            ..host()
        })
    };
    let spec = with(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
            "syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW","args":[]},{"names":["write"],"action":"SCMP_ACT_ALLOW"},
            {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"99.0"}}]}"#,
    )
    .spec();
    let filter = seccomp_of(&spec).unwrap();
    let rules = filter.syscalls().as_ref().unwrap();
    assert_eq!(
        (rules.len(), rules[0].names().clone()),
        (1, strings(&["read", "write"]))
    );
    assert_eq!(filter.architectures().as_ref().unwrap().len(), 2);
    assert!(seccomp_of(&with("unconfined").spec()).is_none());
    assert!(with("{").error().starts_with("Decoding seccomp profile failed: "));
    let both = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_KILL"}]}"#;
    assert!(with(both).error().contains("use either 'name' or 'names'"));
}

#[test]
fn limits_that_cannot_be_applied() {
    let nofile = |hard| crate::container::Ulimit {
        name: "nofile".to_owned(),
        soft: 10,
        hard,
    };
    let asked = |hard| {
        Case::new(HostConfig {
            ulimits: vec![nofile(hard)],
            ..host()
        })
    };
    let limit = process(&asked(4096).spec()).rlimits().as_ref().unwrap()[0];
    assert_eq!(
        (limit.typ(), limit.soft(), limit.hard()),
        (PosixRlimitType::RlimitNofile, 10, 4096)
    );
    assert!(asked(4097).error().contains("the daemon's own hard limit is 4096"));
    assert!(asked(-1).error().contains("fs.nr_open"));
    assert!(
        asked(5)
            .error()
            .contains("soft limit must be less than or equal to hard limit: 10 > 5")
    );
    let mut case = Case::new(host());
    case.defaults.ulimits = vec![nofile(4097)];
    let (spec, warnings) = case.build().unwrap();
    assert!(process(&spec).rlimits().is_none() && warnings[0].contains("default ulimit nofile"));
    case.facts.bounding = CapSet::KNOWN;
    assert!(process(&case.spec()).rlimits().is_some());
    let unknown = crate::container::Ulimit {
        name: "wings".to_owned(),
        soft: 1,
        hard: 1,
    };
    assert_eq!(
        Case::new(HostConfig {
            ulimits: vec![unknown],
            ..host()
        })
        .error(),
        "invalid ulimit type: wings"
    );
}

#[test]
fn oom_scores() {
    let asked = |score| {
        Case::new(HostConfig {
            oom_score_adj: Some(score),
            ..host()
        })
    };
    assert_eq!(process(&asked(500).spec()).oom_score_adj(), Some(500));
    assert!(asked(-500).error().contains("lacks CAP_SYS_RESOURCE"));
    assert!(asked(1001).error().contains("range for oom score adj is [-1000, 1000]"));
    let mut case = Case::new(host());
    case.facts.oom_score_adj = 300;
    let (spec, warnings) = case.build().unwrap();
    assert_eq!((process(&spec).oom_score_adj(), warnings.len()), (Some(300), 1));
}

#[test]
fn memory_and_cpu_rules() {
    const M: i64 = 1024 * 1024;
    let error = |host: HostConfig| Case::new(host).error();
    assert_eq!(
        error(HostConfig {
            memory: 6 * M - 1,
            ..host()
        }),
        "Minimum memory limit allowed is 6MB"
    );
    assert!(
        error(HostConfig {
            memory: 8 * M,
            memory_swap: 7 * M,
            ..host()
        })
        .starts_with("Minimum memoryswap")
    );
    assert!(
        error(HostConfig {
            memory_swap: 7 * M,
            ..host()
        })
        .starts_with("You should always set the Memory")
    );
    assert!(
        error(HostConfig {
            memory: 8 * M,
            memory_reservation: 9 * M,
            ..host()
        })
        .contains("reservation")
    );
    assert_eq!(
        error(HostConfig {
            nano_cpus: 2_000_000_001,
            ..host()
        }),
        "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"
    );
    assert_eq!(
        error(HostConfig {
            cpuset_cpus: "1-2".into(),
            ..host()
        }),
        "Requested CPUs are not available - requested 1-2, available: 0-1"
    );
    assert_eq!(
        error(HostConfig {
            cpuset_cpus: "x".into(),
            ..host()
        }),
        "Invalid value x for cpuset cpus"
    );

    let spec = Case::new(HostConfig {
        memory: 64 * M,
        nano_cpus: 500_000_000,
        pids_limit: 9,
        ..host()
    })
    .spec();
    let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
    let memory = resources.memory().as_ref().unwrap();
    assert_eq!((memory.limit(), memory.swap()), (Some(64 * M), Some(128 * M)));
    let cpu = resources.cpu().as_ref().unwrap();
    assert_eq!((cpu.quota(), cpu.period()), (Some(50_000), Some(100_000)));
    assert_eq!(resources.pids().as_ref().unwrap().limit(), 9);
    let unlimited = Case::new(HostConfig {
        memory: 64 * M,
        memory_swap: -1,
        ..host()
    })
    .spec();
    let resources = unlimited.linux().as_ref().unwrap().resources().as_ref().unwrap();
    assert_eq!(resources.memory().as_ref().unwrap().swap(), Some(-1));
}

#[test]
fn mounts_of_the_users() {
    let bind = |source: &str, target: &str| BindMount {
        source: source.into(),
        target: target.into(),
        read_only: true,
        ..BindMount::default()
    };
    let spec = Case::new(HostConfig {
        binds: vec![
            bind("/s/b", "/a/b/"),
            bind("/s/a", "/a"),
            bind("/s/h", "/etc/hosts"),
            bind("/shm", "/dev/shm"),
        ],
        tmpfs: [("/run".to_owned(), "exec,size=1m".to_owned())].into(),
        ..host()
    })
    .spec();
    let mounts: Vec<(String, Vec<String>)> = spec
        .mounts()
        .iter()
        .flatten()
        .skip(6)
        .map(|mount| {
            (
                mount.destination().display().to_string(),
                mount.options().clone().unwrap(),
            )
        })
        .collect();
    let targets: Vec<&str> = mounts.iter().map(|(target, _)| target.as_str()).collect();
    assert_eq!(
        targets,
        ["/a", "/run", "/a/b", "/etc/hosts", "/dev/shm"],
        "parents first, the default shm gone"
    );
    assert_eq!(mounts[0].1, ["rbind", "rprivate", "ro", "rro"]);
    assert_eq!(mounts[1].1, ["nosuid", "nodev", "exec", "size=1m"]);
    let error = |target: &str| {
        Case::new(HostConfig {
            binds: vec![bind("/s", target)],
            ..host()
        })
        .error()
    };
    assert!(error("x").contains("mount path must be absolute"));
    assert!(error("/a/../b").contains("must not contain"));
    assert!(error("//").contains("destination can't be '/'"));
    let twice = Case::new(HostConfig {
        binds: vec![bind("/s", "/x"), bind("/t", "/x/")],
        ..host()
    });
    assert_eq!(twice.error(), "Duplicate mount point: /x");
}

#[test]
fn security_options() {
    let with = |option: &str| {
        Case::new(HostConfig {
            security_opt: strings(&[option]),
            ..host()
        })
    };
    for yes in ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"] {
        assert_eq!(process(&with(yes).spec()).no_new_privileges(), Some(true), "{yes}");
    }
    assert_eq!(
        process(&with("no-new-privileges=false").spec()).no_new_privileges(),
        Some(false)
    );
    assert_eq!(with("nonsense").error(), "invalid --security-opt 1: \"nonsense\"");
    assert_eq!(with("a=b").error(), "invalid --security-opt 2: \"a=b\"");
    assert!(with("apparmor=mine").error().contains("not built yet"));
    assert!(
        with("systempaths=unconfined")
            .spec()
            .linux()
            .as_ref()
            .unwrap()
            .masked_paths()
            .is_none()
    );
}

#[test]
fn an_exec_is_like_its_container() {
    let mut case = Case::new(HostConfig {
        security_opt: strings(&["no-new-privileges"]),
        ulimits: vec![Ulimit {
            name: "nofile".into(),
            soft: 55,
            hard: 66,
        }],
        ..host()
    });
    case.config.env = strings(&["A=1", "B=2"]);
    case.config.working_dir = "/srv".to_owned();
    let spec = case.spec();
    let args = strings(&["ls"]);
    let env = strings(&["B=3", "A"]);
    let input = ExecInput {
        args: &args,
        config: &case.config,
        linked: &[],
        env: &env,
        cwd: "",
        user: None,
        home: "/root",
        tty: true,
        console_size: None,
        privileged: false,
        bounding: case.facts.bounding,
        umask: None,
    };
    let exec = exec_process(&spec, &input).unwrap();
    assert_eq!(exec.cwd().to_str(), Some("/srv"));
    assert_eq!(exec.no_new_privileges(), Some(true));
    assert_eq!(exec.capabilities(), process(&spec).capabilities());
    let limit = &exec.rlimits().as_ref().unwrap()[0];
    assert_eq!((limit.soft(), limit.hard()), (55, 66));
    assert_eq!(
        exec.env().as_ref().unwrap(),
        &strings(&[env::PATH, "HOSTNAME=abababababab", "TERM=xterm", "B=3", "HOME=/root"])
    );
    let user = ResolvedUser {
        uid: 5,
        gid: 6,
        additional_gids: vec![6, 7],
        home: "/five".to_owned(),
    };
    let other = exec_process(
        &spec,
        &ExecInput {
            user: Some(user),
            privileged: true,
            cwd: "/",
            ..input.clone()
        },
    )
    .unwrap();
    assert_eq!(
        (other.user().uid(), other.user().additional_gids().clone()),
        (5, Some(vec![6, 7]))
    );
    assert!(other.env().as_ref().unwrap().contains(&"HOME=/five".to_owned()));
    assert_eq!(
        other
            .capabilities()
            .as_ref()
            .unwrap()
            .bounding()
            .as_ref()
            .unwrap()
            .len(),
        40
    );
    let relative = exec_process(
        &spec,
        &ExecInput {
            cwd: "x",
            ..input.clone()
        },
    )
    .unwrap_err()
    .to_string();
    assert!(relative.contains("'x' is invalid"));
    assert!(
        exec_process(&spec, &ExecInput { args: &[], ..input })
            .unwrap_err()
            .to_string()
            .contains("No exec command")
    );
}

#[test]
fn status_lines() {
    let status = "Name:\tx\nCapEff:\t0000000000000001\nCapBnd:\t000001fffeffffff\n";
    let bounding = CapSet::from_status(status, "CapBnd").unwrap();
    assert!(!bounding.has("CAP_SYS_RESOURCE") && bounding.has("CAP_SYS_ADMIN"));
    assert_eq!(CapSet::KNOWN.without(bounding).names(), ["CAP_SYS_RESOURCE"]);
    assert_eq!(CapSet::from_status(status, "CapAmb"), None);
}
