//! Reading bodies as Go's `encoding/json` reads them: names of fields in any case, unknown ones ignored, null as nothing, and
//! the same words for a value of the wrong type.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A type that a body can hold. The error is Go's message.
pub trait Wire: Sized + Default {
    /// As Go calls the type.
    fn name() -> String;
    /// `at` is the field, as `Struct.Field`; empty for the whole body.
    fn read(value: Value, at: &str) -> Result<Self, String>;
}

/// Go's complaint about a type.
pub fn mismatch<T: Wire>(value: &Value, at: &str) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.as_i64().is_none() && T::name().contains("int") => {
            return wrong(&format!("number {number}"), &T::name(), at);
        }
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    wrong(kind, &T::name(), at)
}

fn wrong(kind: &str, wanted: &str, at: &str) -> String {
    match at {
        "" => format!("json: cannot unmarshal {kind} into Go value of type {wanted}"),
        at => format!("json: cannot unmarshal {kind} into Go struct field {at} of type {wanted}"),
    }
}

impl Wire for String {
    fn name() -> String {
        "string".to_owned()
    }

    fn read(value: Value, at: &str) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self::new()),
            Value::String(text) => Ok(text),
            other => Err(mismatch::<Self>(&other, at)),
        }
    }
}

impl Wire for bool {
    fn name() -> String {
        "bool".to_owned()
    }

    fn read(value: Value, at: &str) -> Result<Self, String> {
        match value {
            Value::Null => Ok(false),
            Value::Bool(truth) => Ok(truth),
            other => Err(mismatch::<Self>(&other, at)),
        }
    }
}

macro_rules! number {
    ($type:ty, $go:literal) => {
        impl Wire for $type {
            fn name() -> String {
                $go.to_owned()
            }

            fn read(value: Value, at: &str) -> Result<Self, String> {
                match &value {
                    Value::Null => Ok(0),
                    Value::Number(number) => {
                        let fits = number.as_i64().and_then(|number| <$type>::try_from(number).ok());
                        fits.ok_or_else(|| wrong(&format!("number {number}"), $go, at))
                    }
                    other => Err(mismatch::<Self>(other, at)),
                }
            }
        }
    };
}

number!(i64, "int64");
number!(i32, "int");
number!(u16, "uint16");
number!(u64, "uint64");

/// Whatever it is; unread.
impl Wire for Value {
    fn name() -> String {
        "interface {}".to_owned()
    }

    fn read(value: Value, _: &str) -> Result<Self, String> {
        Ok(value)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn name() -> String {
        T::name()
    }

    fn read(value: Value, at: &str) -> Result<Self, String> {
        match value {
            Value::Null => Ok(None),
            value => T::read(value, at).map(Some),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn name() -> String {
        format!("[]{}", T::name())
    }

    fn read(value: Value, at: &str) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self::new()),
            Value::Array(items) => items.into_iter().map(|item| T::read(item, at)).collect(),
            other => Err(mismatch::<Self>(&other, at)),
        }
    }
}

impl<T: Wire> Wire for BTreeMap<String, T> {
    fn name() -> String {
        format!("map[string]{}", T::name())
    }

    fn read(value: Value, at: &str) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self::new()),
            Value::Object(map) => map
                .into_iter()
                .map(|(key, value)| Ok((key, T::read(value, at)?)))
                .collect(),
            other => Err(mismatch::<Self>(&other, at)),
        }
    }
}

/// A command or an entrypoint: a list, or one word alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(pub Option<Vec<String>>);

impl Wire for Words {
    fn name() -> String {
        "strslice.StrSlice".to_owned()
    }

    fn read(value: Value, at: &str) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self(None)),
            Value::String(word) => Ok(Self(Some(vec![word]))),
            value @ Value::Array(_) => Vec::read(value, at).map(|words| Self(Some(words))),
            other => Err(mismatch::<Self>(&other, at)),
        }
    }
}

/// Fields of an object by their names in small letters, as Go finds them.
pub fn fields(map: Map<String, Value>) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    for (name, value) in map {
        fields.insert(name.to_lowercase(), value);
    }
    fields
}

/// Declares a shape that comes in: its Go name, and each field with its name on the wire.
macro_rules! wire {
    ($(#[$note:meta])* $name:ident = $go:literal { $($(#[$about:meta])* $field:ident: $type:ty = $key:literal,)* }) => {
        $(#[$note])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $($(#[$about])* pub $field: $type,)*
        }

        impl $crate::json::Wire for $name {
            fn name() -> String {
                $go.to_owned()
            }

            fn read(value: serde_json::Value, at: &str) -> Result<Self, String> {
                let map = match value {
                    serde_json::Value::Null => return Ok(Self::default()),
                    serde_json::Value::Object(map) => map,
                    other => return Err($crate::json::mismatch::<Self>(&other, at)),
                };
                let mut fields = $crate::json::fields(map);
                let short = $go.rsplit('.').next().unwrap_or($go);
                Ok(Self {
                    $($field: match fields.remove(&$key.to_lowercase()) {
                        Some(value) => $crate::json::Wire::read(value, &format!("{short}.{}", $key))?,
                        None => Default::default(),
                    },)*
                })
            }
        }
    };
}
pub(crate) use wire;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    wire! {
        Thing = "pkg.Thing" {
            name: String = "Name",
            count: i64 = "Count",
            words: Words = "Cmd",
            inner: Option<Vec<String>> = "Inner",
        }
    }

    #[test]
    fn names_in_any_case_and_gos_words() {
        let thing = Thing::read(json!({ "name": "a", "COUNT": 3, "Cmd": "x", "more": 1 }), "").unwrap();
        assert_eq!((thing.name.as_str(), thing.count), ("a", 3));
        assert_eq!(thing.words, Words(Some(vec!["x".into()])));
        let error = |value| Thing::read(value, "").unwrap_err();
        assert_eq!(
            error(json!({ "Name": 5 })),
            "json: cannot unmarshal number into Go struct field Thing.Name of type string"
        );
        assert_eq!(
            error(json!({ "Count": 1.5 })),
            "json: cannot unmarshal number 1.5 into Go struct field Thing.Count of type int64"
        );
        assert_eq!(
            error(json!([])),
            "json: cannot unmarshal array into Go value of type pkg.Thing"
        );
        assert_eq!(Thing::read(json!(null), "").unwrap(), Thing::default());
    }
}
