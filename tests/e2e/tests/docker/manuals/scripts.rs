//! What the rows of the manuals stand on: images that speak as the real ones, what is done before a row, and what is typed.

/// Programs that the stand-ins have beside busybox.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("bin/bash", "exec /bin/sh \"$@\"\n"),
    (
        "bin/httpd-foreground",
        "trap 'exit 0' TERM; httpd -p 80 -h /usr/local/apache2/htdocs; sleep 1000000 & wait\n",
    ),
    (
        "bin/nginx",
        "trap 'exit 0' TERM\ntrap 'echo \"signal 2 (SIGINT) received, exiting\"; exit 0' INT\n\
         httpd -p 80 -h /srv\nwhile :; do echo 'GET / HTTP/1.1'; sleep 1 & wait; done\n",
    ),
    (
        "bin/python",
        "case \"$1\" in hello.py) echo hello from container;; cat.py) echo meaw-meaw;; dog.py) echo woof-woof;; esac\n",
    ),
    (
        "bin/stress-ng",
        "echo 'stress-ng: info: [1] successful run completed'\n",
    ),
];

/// Names, and what `docker commit` makes of them.
pub const STAND_INS: &[(&str, &[&str])] = &[
    ("busybox", &[r#"CMD ["sh"]"#]),
    ("ubuntu", &[r#"CMD ["/bin/bash"]"#]),
    ("httpd", &[r#"CMD ["httpd-foreground"]"#, "EXPOSE 80"]),
    ("nginx", &[r#"CMD ["nginx"]"#, "EXPOSE 80"]),
    ("registry", &[r#"CMD ["sleep", "1000000"]"#, "EXPOSE 5000"]),
    ("python:3.10-slim", &[r#"CMD ["python"]"#]),
    ("hello", &[r#"CMD ["python", "hello.py"]"#]),
    ("arg-test:3.10", &[r#"CMD ["echo", "Python 3.10.12"]"#]),
    ("arg-test:3.11", &[r#"CMD ["echo", "Python 3.11.4"]"#]),
    ("entrypoint_example", &[r#"ENTRYPOINT ["python"]"#, r#"CMD ["cat.py"]"#]),
    ("ifleach/docker-arm-stress-ng", &[r#"ENTRYPOINT ["stress-ng"]"#]),
];

/// Run before a row, by `sh`; must succeed.
pub const BEFORE: &[(&str, &str)] = &[
    ("000:18", "docker rmi busybox"),
    ("000:111", "docker rm -f container_registry"),
    (
        "000:333a",
        r#"mkdir -p $DATA/hooks && printf '#!/bin/sh\necho ran >>%s/ran\n' $HOME >$DATA/hooks/network-hook
        chmod +x $DATA/hooks/network-hook
        printf '{"prestart": [{"path": "%s/hooks/network-hook", "args": ["network-hook", "tap0", "myTap"], "env": [],
            "timeout": 5}], "poststart": [], "poststop": []}' $DATA >$HOME/hookspec.json"#,
    ),
    ("000:363", "test $(wc -l <$HOME/ran) = 2"),
    (
        "000:503",
        r#"docker run -d --name well --health-cmd /test.sh --health-interval 1s busybox sh -c '
            echo exit 0 >/test.sh; chmod +x /test.sh; sleep 1000000'"#,
    ),
    ("000:517", "docker tag busybox centos"),
    ("000:606", "docker start container1"),
    ("000:612", "docker wait container1"),
    ("000:618", "docker run -d --name=container1 busybox sleep 1000000"),
    (
        "000:628",
        r#"docker run -d --name heeding busybox sh -c 'trap "exit 0" TERM; echo ready; sleep 1000000 & wait'
        until docker logs heeding | grep -q ready; do sleep 0.1; done"#,
    ),
    (
        "000:652",
        "docker run -d --name container1 busybox sleep 1000000 && docker pause container1",
    ),
    (
        "000:690",
        "echo text >$HOME/of-somebody && chown 1000:1000 $HOME/of-somebody",
    ),
    ("002:6a", "docker run -d --name other ubuntu sleep 1000000"),
    ("002:20a", "docker unpause ubuntu"),
    ("002:28a", "docker unpause ubuntu; docker stop -t 0 $(docker ps -q)"),
    ("002:41", "docker rm -f my-httpd"),
    ("002:45", "docker run -d --name my-httpd2 httpd"),
    ("002:62", "docker tag httpd httpd:2.4"),
    (
        "002:64a",
        r#"docker rm -f my-httpd2 && mkdir -p $HOME/mywww && echo "My Apache server - 2" >$HOME/mywww/index.html"#,
    ),
    ("002:74b", "docker rm -f my-httpd2"),
    ("002:81a", "mkdir $HOME/wwwbackup"),
    ("003:416", "docker run --name ended busybox true"),
    ("004:358", "echo FROM busybox >Dockerfile"),
    ("004:520", "docker tag arg-test:3.11 arg-test"),
    ("004:530", "docker tag arg-test:3.10 arg-test"),
    ("004:654", "docker rm -f $(docker ps -aq)"),
    ("004:742", "docker run -d --name held -m 256m busybox sleep 1000000"),
    (
        "004:780",
        "while [ -n \"$(docker ps -aq -f name=^c1$)\" ]; do sleep 0.1; done; docker run -d --name c1 nginx",
    ),
    ("004:853", "docker wait c1"),
    (
        "004:873",
        "mkdir -p my/host/path && echo of the host >my/host/path/mine",
    ),
    ("004:1154", "docker rm -f c1 c2 && docker network create my-bridge-002"),
    ("004:1223", "docker rm -f c1"),
];

/// What is typed on the terminal of a row, each after something is seen; other rows have no terminal.
pub const TYPED: &[(&str, &[(&str, &str)])] = &[
    ("000:53", &[("# ", "ls\n"), ("bin", "exit\n")]),
    ("002:8", &[("# ", "\u{10}\u{11}")]),
    (
        "002:39a",
        &[
            (
                "# ",
                "echo \"My Apache server\" >/usr/local/apache2/htdocs/index.html; echo do''ne\n",
            ),
            ("done", "exit\n"),
        ],
    ),
    ("004:695", &[]),
    ("004:722", &[]),
    ("004:766", &[("GET", "\u{3}")]),
    ("004:780", &[("# ", "ps\n"), ("nginx", "exit\n")]),
    (
        "004:911",
        &[
            ("# ", "ping -c 2 8.8.8.8 >/var/log/ping.txt; echo writ''ten\n"),
            ("written", "exit\n"),
        ],
    ),
    (
        "004:918",
        &[("# ", "tail /var/log/ping.txt\n"), ("64 bytes from 8.8.8.8", "exit\n")],
    ),
];
