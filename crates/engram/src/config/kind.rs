//! What a setting may be: reads a TOML value as a setting of one kind, or says what would be allowed.
//! A `Value` that a `Kind` has read always fits the field of `Config` that it is for.

use std::fmt;
use std::net::SocketAddr;

/// A checked value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Switch(bool),
    Whole(u64),
    Text(String),
    Wholes(Vec<u64>),
    Hops(VisitBudget),
}

/// Hops that spreading may take through memories of each tier; 0 leaves the tier out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisitBudget {
    /// Hops through memories in RAM.
    pub hot: u32,
    /// Hops through memories in mapped files.
    pub warm: u32,
    /// Hops through memories in the object store.
    pub cold: u32,
}

impl VisitBudget {
    /// What a tier gets that the user does not name.
    pub(super) const DEFAULT: VisitBudget = VisitBudget { hot: 3, warm: 2, cold: 1 };

    /// Hot, warm, cold; each at most `HOPS_MAX`.
    pub(crate) fn hops(self) -> [u8; 3] {
        [self.hot, self.warm, self.cold].map(|hops| hops as u8)
    }
}

/// Beyond this many hops activation has decayed to nothing.
const HOPS_MAX: u32 = 16;

/// What a setting may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Switch,
    Whole {
        min: u64,
        max: u64,
        unit: &'static str,
    },
    PowerOfTwo {
        max: u64,
    },
    /// A whole number of MB, written with its unit: "4GB".
    Size {
        mb_min: u64,
        mb_max: u64,
    },
    Choice(&'static [&'static str]),
    Address,
    Path {
        required: bool,
    },
    /// s3://bucket/prefix or file:///path, or empty.
    Bucket,
    /// http or https, or empty.
    Url,
    Text,
    Wholes {
        min: u64,
        max: u64,
        unit: &'static str,
        count_max: usize,
    },
    Hops,
}

impl Kind {
    /// The value, if it is of this kind and in range.
    pub(super) fn read(&self, given: &toml_edit::Value) -> Option<Value> {
        match *self {
            Kind::Switch => given.as_bool().map(Value::Switch),
            Kind::Whole { min, max, .. } => whole(given, min, max).map(Value::Whole),
            Kind::PowerOfTwo { max } => {
                whole(given, 1, max).filter(|number| number.is_power_of_two()).map(Value::Whole)
            }
            Kind::Size { mb_min, mb_max } => {
                size_mb(given.as_str()?).filter(|mb| (mb_min..=mb_max).contains(mb)).map(Value::Whole)
            }
            Kind::Choice(names) => {
                let text = given.as_str()?;
                let name = names.iter().find(|name| name.eq_ignore_ascii_case(text))?;
                Some(Value::Text((*name).to_owned()))
            }
            Kind::Wholes { min, max, count_max, .. } => {
                let numbers: Option<Vec<u64>> =
                    given.as_array()?.iter().map(|item| whole(item, min, max)).collect();
                numbers.filter(|numbers| numbers.len() <= count_max).map(Value::Wholes)
            }
            Kind::Hops => hops(given).map(Value::Hops),
            Kind::Address => address(given.as_str()?).map(|address| Value::Text(address.to_string())),
            Kind::Path { required } => text(given, |text| !text.is_empty() || !required),
            Kind::Bucket => text(given, |text| {
                let rest = text.strip_prefix("s3://").or_else(|| text.strip_prefix("file:///"));
                text.is_empty() || rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            }),
            Kind::Url => text(given, |text| {
                let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
                text.is_empty() || rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            }),
            Kind::Text => text(given, |_| true),
        }
    }

    /// Values of this kind are given bare in the environment and by flags, where TOML would quote them.
    pub(super) fn is_text(&self) -> bool {
        !matches!(
            self,
            Kind::Switch | Kind::Whole { .. } | Kind::PowerOfTwo { .. } | Kind::Wholes { .. } | Kind::Hops
        )
    }
}

/// What is allowed, to end a sentence with.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Switch => write!(f, "true or false"),
            Kind::Whole { min, max, unit: "" } => write!(f, "a whole number from {min} to {max}"),
            Kind::Whole { min, max, unit } => write!(f, "a whole number of {unit} from {min} to {max}"),
            Kind::PowerOfTwo { max } => write!(f, "a power of two from 1 to {max}"),
            Kind::Size { mb_min, mb_max } => {
                write!(f, "a size such as \"512MB\" or \"4GB\", from {mb_min}MB to {mb_max}MB")
            }
            Kind::Choice(names) => write!(f, "\"{}\"", names.join("\", \"")),
            Kind::Address => write!(f, "an IP address and port such as \"127.0.0.1:8080\" or \"[::1]:8080\""),
            Kind::Path { required: true } => write!(f, "a path"),
            Kind::Path { required: false } => write!(f, "a path, or \"\" for none"),
            Kind::Bucket => write!(f, "\"s3://bucket/prefix\", \"file:///path\", or \"\" for none"),
            Kind::Url => write!(f, "an http:// or https:// address, or \"\" for none"),
            Kind::Text => write!(f, "text"),
            Kind::Wholes { min, max, unit, count_max } => {
                write!(f, "a list of at most {count_max} whole numbers of {unit} from {min} to {max}")
            }
            Kind::Hops => {
                write!(f, "{{ hot = 3, warm = 2, cold = 1 }}, each a whole number from 0 to {HOPS_MAX}")
            }
        }
    }
}

/// As TOML.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Switch(on) => write!(f, "{on}"),
            Value::Whole(number) => write!(f, "{number}"),
            Value::Text(text) => write!(f, "{}", toml_edit::Value::from(text.as_str())),
            Value::Wholes(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
                write!(f, "[{}]", numbers.join(", "))
            }
            Value::Hops(VisitBudget { hot, warm, cold }) => {
                write!(f, "{{ hot = {hot}, warm = {warm}, cold = {cold} }}")
            }
        }
    }
}

fn text(given: &toml_edit::Value, allowed: impl Fn(&str) -> bool) -> Option<Value> {
    given.as_str().filter(|text| allowed(text)).map(|text| Value::Text(text.to_owned()))
}

fn whole(given: &toml_edit::Value, min: u64, max: u64) -> Option<u64> {
    let number = u64::try_from(given.as_integer()?).ok()?;
    (min..=max).contains(&number).then_some(number)
}

fn hops(given: &toml_edit::Value) -> Option<VisitBudget> {
    let mut budget = VisitBudget::DEFAULT;
    for (tier, hops) in given.as_inline_table()?.iter() {
        let place = match tier {
            "hot" => &mut budget.hot,
            "warm" => &mut budget.warm,
            "cold" => &mut budget.cold,
            _ => return None,
        };
        *place = u32::try_from(whole(hops, 0, u64::from(HOPS_MAX))?).ok()?;
    }
    Some(budget)
}

/// Host names would need a resolver at start; `localhost` alone needs none.
fn address(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?))),
        None => text.parse().ok(),
    }
}

/// "4GB", "4 GiB", "4G" and "4096MB" are all 4096: GB has always meant 1024 MiB here.
fn size_mb(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_uppercase().as_str() {
        "M" | "MB" | "MIB" | "MI" => 1,
        "G" | "GB" | "GIB" | "GI" => 1 << 10,
        "T" | "TB" | "TIB" | "TI" => 1 << 20,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
