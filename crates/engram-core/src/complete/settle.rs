//! A vector on its way to what is stored: `xi' = X softmax(beta X^T xi)` (Ramsauer et al. 2021), with the energies of the
//! other given fields added, and every vector at length 1, so that beta means the same in each step. Ends where it stays:
//! at one stored vector, or, for a low beta or memories that are much alike, in the middle of several.

use super::candidates::{Candidates, weights};
use crate::kernels::dot;
use crate::vector::unit;

/// Steps at most; a longer path ends where it is. With .3 of their numbers wrong, LoCoMo's and WordNet's vectors take 1 to 3
/// on average, and 6 to 15 at a beta of 16.
const STEPS_MAX: usize = 100;
/// A vector stays when no number changes by more in a step.
const STILL: f32 = 1e-6;
/// The weight from which a fixed point is one stored vector, which is then given as it is stored.
const WHOLE: f64 = 0.99;
/// Of a fixed point between several, those that weigh less are not named.
const SOURCE_WEIGHT_MIN: f64 = 0.01;

/// Where a vector came to rest.
pub(super) struct Settled {
    /// As stored where it is that of one memory; otherwise of the mean length of its sources.
    pub(super) numbers: Vec<f32>,
    /// Of length 1.
    pub(super) unit: Vec<f32>,
    /// Length of the mean of its sources' vectors of length 1, 0..=1: 1 where it is that of one.
    pub(super) unity: f64,
    /// Candidates that it is the vector of, or lies between; those that weigh most first.
    pub(super) sources: Vec<usize>,
}

impl Settled {
    /// None where no candidate has a vector.
    pub(super) fn from(candidates: &Candidates, beta: f32) -> Option<Self> {
        let with_vector: Vec<(usize, &[f32])> = (0..candidates.all.len())
            .filter_map(|at| Some((at, candidates.state.row(candidates.all[at].slot)?)))
            .collect();
        let units: Vec<Vec<f32>> = with_vector.iter().map(|(_, row)| unit(row)).collect();
        let all = || with_vector.iter().map(|(at, _)| &candidates.all[*at]);
        if units.is_empty() {
            return None;
        }
        let mut weights_now = weights(all().map(|candidate| candidate.energy), beta);
        let (mut xi, mut unity) = mean(&units, &weights_now);
        for _ in 0..STEPS_MAX {
            let energies =
                all().zip(&units).map(|(candidate, unit)| candidate.beside_vector + dot(&xi, unit));
            weights_now = weights(energies, beta);
            let (next, length) = mean(&units, &weights_now);
            let moved = next.iter().zip(&xi).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            (xi, unity) = (next, length);
            if moved <= STILL {
                break;
            }
        }
        let mut order: Vec<usize> = (0..units.len()).collect();
        order.sort_by(|&a, &b| weights_now[b].total_cmp(&weights_now[a]).then(a.cmp(&b)));
        let strongest = order[0];
        // Copies of a vector share the weight of one.
        let is_copy = |at: usize| are_same(&units[at], &units[strongest]);
        let copies: Vec<usize> = order.iter().copied().filter(|&at| is_copy(at)).collect();
        let whole: f64 = copies.iter().map(|&at| weights_now[at]).sum();
        if whole >= WHOLE {
            let sources = copies.iter().map(|&at| with_vector[at].0).collect();
            let numbers = with_vector[strongest].1.to_vec();
            return Some(Self { numbers, unit: units[strongest].clone(), unity: 1.0, sources });
        }
        let length = |at: usize| dot(with_vector[at].1, &units[at]);
        let scale = order.iter().map(|&at| weights_now[at] * f64::from(length(at))).sum::<f64>() as f32;
        let named = order.iter().filter(|&&at| at == strongest || weights_now[at] >= SOURCE_WEIGHT_MIN);
        let sources = named.map(|&at| with_vector[at].0).collect();
        Some(Self { numbers: xi.iter().map(|x| x * scale).collect(), unit: xi, unity, sources })
    }
}

/// Whether two vectors of length 1 are the same but for rounding.
pub(super) fn are_same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= STILL)
}

/// The weighted mean of vectors of length 1, scaled to length 1, and the length that it had. Where they cancel each other out, the heaviest.
fn mean(units: &[Vec<f32>], weights: &[f64]) -> (Vec<f32>, f64) {
    let mut sum = vec![0.0f64; units[0].len()];
    for (unit, weight) in units.iter().zip(weights) {
        sum.iter_mut().zip(unit).for_each(|(sum, x)| *sum += weight * f64::from(*x));
    }
    let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length < 1e-9 {
        let heaviest = (0..units.len()).rev().max_by(|&a, &b| weights[a].total_cmp(&weights[b]));
        return (units[heaviest.expect("there is a vector")].clone(), 0.0);
    }
    (sum.iter().map(|x| (x / length) as f32).collect(), length)
}
