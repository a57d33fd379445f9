//! `printf` as Go's fmt knows it, for the verbs that make sense on template values.

use super::value::Value;

#[derive(Default)]
struct Verb {
    minus: bool,
    plus: bool,
    zero: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

pub(crate) fn printf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut chars = format.chars().peekable();
    while let Some(it) = chars.next() {
        if it != '%' {
            out.push(it);
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = chars.next_if(|it| "-+# 0".contains(*it)) {
            match flag {
                '-' => verb.minus = true,
                '+' => verb.plus = true,
                '0' => verb.zero = true,
                '#' => verb.sharp = true,
                _ => {}
            }
        }
        verb.width = count(&mut chars, &mut args);
        if chars.next_if_eq(&'.').is_some() {
            verb.precision = Some(count(&mut chars, &mut args).unwrap_or(0));
        }
        let Some(letter) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if letter == '%' {
            out.push('%');
            continue;
        }
        match args.next() {
            Some(arg) => out.push_str(&verb.pad(verb.show(letter, arg), arg)),
            None => out.push_str(&format!("%!{letter}(MISSING)")),
        }
    }
    let extra: Vec<String> = args.map(|arg| format!("{}={arg}", arg.type_name())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(out)
}

/// A width or precision: digits, or `*` for the next argument.
fn count<'a>(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    args: &mut impl Iterator<Item = &'a Value>,
) -> Option<usize> {
    if chars.next_if_eq(&'*').is_some() {
        return match args.next() {
            Some(Value::Int(number)) => usize::try_from(*number).ok(),
            _ => None,
        };
    }
    let mut digits = String::new();
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    digits.parse().ok().map(|count: usize| count.min(4096))
}

impl Verb {
    fn show(&self, letter: char, arg: &Value) -> String {
        let signed = |text: String, negative: bool| {
            if self.plus && !negative {
                format!("+{text}")
            } else {
                text
            }
        };
        match (letter, arg) {
            ('v' | 's', Value::Str(text)) => self.cut(text),
            ('v', other) => other.to_string(),
            ('s', Value::List(_) | Value::Map(_) | Value::Struct(_)) => arg.to_string(),
            ('q', Value::Str(text)) => format!("{:?}", self.cut(text)),
            ('x', Value::Str(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            ('X', Value::Str(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
            ('t', Value::Bool(value)) => value.to_string(),
            ('T', value) => value.type_name().to_owned(),
            ('d', Value::Int(number)) => signed(number.to_string(), *number < 0),
            ('d', Value::Uint(number)) => signed(number.to_string(), false),
            ('c', Value::Int(number)) => u32::try_from(*number)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or('\u{fffd}')
                .to_string(),
            ('x', Value::Int(number)) => format!("{}{number:x}", if self.sharp { "0x" } else { "" }),
            ('X', Value::Int(number)) => format!("{}{number:X}", if self.sharp { "0X" } else { "" }),
            ('o', Value::Int(number)) => format!("{number:o}"),
            ('b', Value::Int(number)) => format!("{number:b}"),
            ('x', Value::Uint(number)) => format!("{number:x}"),
            ('o', Value::Uint(number)) => format!("{number:o}"),
            ('f' | 'F', Value::Float(number)) => {
                signed(format!("{number:.*}", self.precision.unwrap_or(6)), *number < 0.0)
            }
            ('e', Value::Float(number)) => format!("{number:.*e}", self.precision.unwrap_or(6)),
            ('g', Value::Float(number)) => match self.precision {
                Some(precision) => crate::format::units::significant(*number, precision),
                None => number.to_string(),
            },
            (_, Value::Missing | Value::Null) => format!("%!{letter}(<nil>)"),
            (_, other) => format!("%!{letter}({}={other})", other.type_name()),
        }
    }

    fn cut(&self, text: &str) -> String {
        self.precision
            .map_or_else(|| text.to_owned(), |most| text.chars().take(most).collect())
    }

    fn pad(&self, text: String, arg: &Value) -> String {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        if missing == 0 {
            return text;
        }
        let number = matches!(arg, Value::Int(_) | Value::Uint(_) | Value::Float(_));
        if self.minus {
            return format!("{text}{}", " ".repeat(missing));
        }
        if self.zero && number {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        format!("{}{text}", " ".repeat(missing))
    }
}
