use super::*;
use crate::ErrorKind;

struct Thing {
    name: &'static str,
    other: &'static str,
    labels: Labels,
}

impl Adaptor for Thing {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name", ..] => set(self.name),
            ["other", ..] => set(self.other),
            ["labels", rest @ ..] => label(&self.labels, rest),
            _ => None,
        }
    }
}

fn thing(name: &'static str, other: &'static str, labels: &[(&str, &str)]) -> Thing {
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Thing { name, other, labels }
}

fn things() -> Vec<Thing> {
    vec![
        thing("web", "", &[("tier", "front")]),
        thing("db", "", &[]),
        thing("web", "a b, c", &[("tier", "back"), ("two words", "yes")]),
        thing("café", "path/x", &[("io.example/key", "v1.2-rc_3")]),
        thing("quote", "", &[(r#"a\"b.tail"#, "1"), ("empty", "")]),
    ]
}

/// Which of the things match, by number.
fn matching(filter: &str) -> Vec<usize> {
    let filter = Filter::parse(filter).unwrap_or_else(|err| panic!("{filter}: {err}"));
    let things = things();
    (0..things.len()).filter(|i| filter.matches(&things[*i])).collect()
}

#[test]
fn good_filters() {
    let all = vec![0, 1, 2, 3, 4];
    for (filter, wanted) in [
        ("", all.clone()),
        ("name", all.clone()),
        ("nothing", vec![]),
        ("other", vec![2, 3]),
        ("name==web", vec![0, 2]),
        ("name.more==web", vec![0, 2]),
        ("name!=web", vec![1, 3, 4]),
        ("other!=x", all.clone()),
        ("nothing!=x", all.clone()),
        ("nothing~=^$", all.clone()),
        ("nothing==\"\"", vec![]),
        ("labels.empty", vec![4]),
        ("labels.empty==\"\"", vec![4]),
        ("labels", vec![]),
        ("labels.tier", vec![0, 2]),
        ("labels.tier==front,name==web", vec![0]),
        ("labels.tier==front, name==web", vec![0]),
        (" name == web,\tlabels.tier == back", vec![2]),
        ("name==web,name==db", vec![]),
        ("\"name\"==web", vec![0, 2]),
        (r#"labels."two words"==yes"#, vec![2]),
        (r#"labels."io.example/key""#, vec![3]),
        (r#"labels.io."example/key"==v1.2-rc_3"#, vec![3]),
        (r#"labels."a\\\"b".tail==1"#, vec![4]),
        (r#"other=="a b, c""#, vec![2]),
        ("other==path/x", vec![3]),
        ("name==café", vec![3]),
        (r#"name=="caf\u00e9""#, vec![3]),
        (r#"name=="caf\xc3\xa9""#, vec![3]),
        (r#"name=="caf\303\251""#, vec![3]),
        (r#"name=="\xff""#, vec![]),
        (r#"name!="\xff""#, all.clone()),
        (r#""\xff"!=x"#, all.clone()),
        (r#""\xff""#, vec![]),
        ("name~=^(web|db)$", vec![0, 1, 2]),
        ("name~=|^w|,labels.tier~=/^b/", vec![2]),
        (r"other~=/path\/x/", vec![3]),
        (r"other~=|path/[xyz]{1,2}|", vec![3]),
        (r#"name~="^d""#, vec![1]),
        ("name~=[", vec![]),
        ("name~=x,name", vec![]),
    ] {
        assert_eq!(matching(filter), wanted, "{filter}");
    }
}

/// What containerd 2.4's `filters.Parse` says to the same.
#[test]
fn bad_filters() {
    for (filter, place, message) in [
        ("name==foo,", "name==foo,", "expected field or quoted"),
        (",", " >|,|< ", "expected field or quoted"),
        ("labels.", "labels.", "expected field or quoted"),
        ("labels..a", "labels. >|.|< a", "expected field or quoted"),
        ("labels.?a", "labels. >|?|< a", "expected field or quoted"),
        ("==x", " >|=|< =x", "expected field or quoted"),
        (" ", " ", "expected field or quoted"),
        ("name==", "name==", "expected value or quoted"),
        ("name==,id", "name== >|,|< id", "expected value or quoted"),
        ("name==.x", "name== >|.|< x", "expected value or quoted"),
        ("name=foo", "name >|=|< foo", "unsupported operator \"=\""),
        ("name===foo", "name >|=|< ==foo", "unsupported operator \"===\""),
        ("name==!foo", "name >|=|< =!foo", "unsupported operator \"==!\""),
        ("name foo", "name  >|f|< oo", r#"expected an operator ("=="|"!="|"~=")"#),
        ("name ", "name ", r#"expected an operator ("=="|"!="|"~=")"#),
        ("name-x", "name >|-|< x", r#"expected an operator ("=="|"!="|"~=")"#),
        ("name==a b", "name==a >| |< b", "unexpected input:  "),
        ("name==\"a\"b", "name==\"a\" >|b|< ", "unexpected input: b"),
        ("name==web ", "name==web >| |< ", "unexpected input:  "),
        ("labels.|a|==b", "labels. >|||< a|==b", "invalid quote encountered"),
        ("name==/a/", "name== >|/|< a/", "invalid quote encountered"),
        (
            "labels.ns/key==v",
            "labels.ns >|/|< key==v",
            "quoted literal not terminated",
        ),
        ("name==\"a", "name== >|\"|< a", "quoted literal not terminated"),
        (
            "name==\"a\nb\"",
            "name== >|\"|< a\nb\"",
            "quoted literal not terminated",
        ),
        (r#"labels."\g""#, r#"labels. >|"|< \g""#, "illegal escape sequence"),
        (
            r#"labels."\xaz""#,
            r#"labels. >|"|< \xaz""#,
            "illegal numeric escape sequence",
        ),
        (r"name~=/\d/", r"name~= >|/|< \d/", "illegal escape sequence"),
        (
            r#"name=="\777""#,
            r#"name== >|"|< \777""#,
            "unquoting failed: quote syntax error",
        ),
        (
            r#"name=="\U00110000""#,
            r#"name== >|"|< \U00110000""#,
            "unquoting failed: quote syntax error",
        ),
        ("na\0me", "na >|\0|< me", "unexpected null"),
        ("name==a\0", "name==a >|\0|< ", "unexpected input: \u{fffd}"),
        ("\u{fffd}", " >|\u{fffd}|< ", "rune error"),
        ("é", " >|é|< ", "expected field or quoted"),
    ] {
        let err = Filter::parse(filter).expect_err(filter);
        assert_eq!(err.kind(), ErrorKind::InvalidArgument);
        assert_eq!(
            err.to_string(),
            format!("filters: parse error: [{place}]: {message}"),
            "{filter:?}"
        );
    }
}

#[test]
fn one_of_several() {
    let web = thing("web", "", &[]);
    let db = thing("db", "", &[]);
    let both = |filters: &[&str]| {
        let filters = parse_all(filters).unwrap();
        (filters.matches(&web), filters.matches(&db))
    };
    assert_eq!(both(&[]), (true, true));
    assert_eq!(both(&[""]), (true, true));
    assert_eq!(both(&["name==web"]), (true, false));
    assert_eq!(both(&["name==web", "name==db"]), (true, true));
    assert_eq!(both(&["name==x", ""]), (true, true));
    assert!(parse_all(&["name==x", ""]).unwrap().match_all());
    assert!(!parse_all(&["name==x"]).unwrap().match_all());
    assert!(parse_all(&["name", "="]).is_err());
}

/// Strings put together from what the grammar is made of; none may panic, and what parses must match or not.
#[test]
fn garbage_never_panics() {
    const PIECES: [&str; 34] = [
        "name", "labels", "a", ".", ",", "==", "!=", "~=", "=", "!", "~", "\"", "/", "|", "\\", "\\x", "\\u", "\\U",
        "\\7", "0", "41", " ", "\n", "\0", "\u{fffd}", "é", "牛", "[", "]", "(", "{", "}", "*", "\u{200b}",
    ];
    let things = things();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut parsed = 0;
    for _ in 0..60_000 {
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap()
        };
        let length = random() % 14;
        let text: String = (0..length).map(|_| PIECES[random() % PIECES.len()]).collect();
        if let Ok(filter) = Filter::parse(&text) {
            parsed += 1;
            for thing in &things {
                filter.matches(thing);
            }
        }
    }
    assert!(
        parsed > 1000,
        "only {parsed} were filters at all: the garbage is too wild to test with"
    );
}
