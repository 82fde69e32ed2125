//! Which operations a load is made of, and in which shares.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One operation of the public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// By a cue.
    Recall,
    /// From three memories.
    Activate,
    /// One memory, durably.
    Store,
    /// One memory by its id.
    Get,
    /// The use of one memory.
    Reinforce,
}

impl Operation {
    pub(crate) const ALL: [Self; 5] = [Self::Recall, Self::Activate, Self::Store, Self::Get, Self::Reinforce];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Recall => "recall",
            Self::Activate => "activate",
            Self::Store => "store",
            Self::Get => "get",
            Self::Reinforce => "reinforce",
        }
    }
}

/// Shares of operations in percent, in the order in which they were given. They sum to 100.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mix(Vec<(Operation, u32)>);

impl Mix {
    /// The next operation, at random by the shares.
    pub(crate) fn draw(&self, random: &mut fastrand::Rng) -> Operation {
        let mut left = random.u32(0..100);
        for (operation, share) in &self.0 {
            match left.checked_sub(*share) {
                Some(rest) => left = rest,
                None => return *operation,
            }
        }
        unreachable!("the shares sum to 100")
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares: Vec<String> =
            self.0.iter().map(|(operation, share)| format!("{}={share}", operation.name())).collect();
        f.write_str(&shares.join(","))
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut shares: Vec<(Operation, u32)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (name, share) =
                part.split_once('=').ok_or_else(|| format!("\"{part}\" is no share; write recall=80"))?;
            let operation = Operation::ALL.into_iter().find(|operation| operation.name() == name.trim());
            let operation = operation.ok_or_else(|| {
                let known = Operation::ALL.map(Operation::name).join(", ");
                format!("there is no operation \"{name}\"; known are {known}")
            })?;
            let share =
                share.trim().parse().ok().filter(|share| (1..=100).contains(share)).ok_or_else(|| {
                    format!("the share of {name} is \"{share}\", it must be a whole number from 1 to 100")
                })?;
            if shares.iter().any(|(known, _)| *known == operation) {
                return Err(format!("{name} is there twice"));
            }
            shares.push((operation, share));
        }
        let sum: u32 = shares.iter().map(|(_, share)| share).sum();
        if sum != 100 {
            return Err(format!("the shares sum to {sum}, they must sum to 100 percent"));
        }
        Ok(Self(shares))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_kept() {
        let mix: Mix = "recall=80, activate=15,store=5".parse().unwrap();
        assert_eq!(mix.to_string(), "recall=80,activate=15,store=5");
        let mut random = fastrand::Rng::with_seed(1);
        let mut counts = [0_u32; 5];
        for _ in 0..10_000 {
            counts[mix.draw(&mut random) as usize] += 1;
        }
        assert!((7_850..8_150).contains(&counts[0]) && (400..600).contains(&counts[2]), "{counts:?}");
        assert_eq!(counts[3..], [0, 0]);
    }

    #[test]
    fn a_mix_that_makes_no_sense_is_refused_with_its_values() {
        let refused = |text: &str| text.parse::<Mix>().unwrap_err();
        assert_eq!(refused("recall=80,store=5"), "the shares sum to 85, they must sum to 100 percent");
        assert!(refused("remember=100").contains("no operation \"remember\"; known are recall, activate"));
        assert!(refused("recall=0,store=100").contains("share of recall is \"0\""));
        assert!(refused("recall=101").contains("\"101\""));
        assert!(refused("recall=1.5").contains("\"1.5\""));
        assert!(refused("recall=50,recall=50").contains("twice"));
        assert!(refused("").contains("\"\" is no share; write recall=80"));
    }
}
