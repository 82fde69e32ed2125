//! The statistics that a comparison of a model with data needs, and fits of one parameter. Pure; slices that are compared
//! have the same length.

use engram::sweep::Random;

/// Pearson's correlation, -1..=1; `None` with fewer than two values, or where one side is constant.
pub(crate) fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mean_a, mean_b) = (mean(a)?, mean(b)?);
    let (mut together, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        together += (x - mean_a) * (y - mean_b);
        of_a += (x - mean_a).powi(2);
        of_b += (y - mean_b).powi(2);
    }
    (of_a > 0.0 && of_b > 0.0).then(|| together / (of_a * of_b).sqrt())
}

/// Spearman's rank correlation, -1..=1; equals share their mean rank.
pub(crate) fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    pearson(&ranks(a), &ranks(b))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equals in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = before as f64 + (equals.len() as f64 + 1.0) / 2.0;
        equals.iter().for_each(|at| ranks[*at] = rank);
        before += equals.len();
    }
    ranks
}

pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Mean distance of a model from the data, in the unit of both.
pub(crate) fn mean_deviation(model: &[f64], data: &[f64]) -> f64 {
    model.iter().zip(data).map(|(m, d)| (m - d).abs()).sum::<f64>() / data.len() as f64
}

/// Sum of the squares of what a model misses.
pub(crate) fn squares(model: &[f64], data: &[f64]) -> f64 {
    model.iter().zip(data).map(|(m, d)| (m - d).powi(2)).sum()
}

/// Share of the data's variance that a model explains, at most 1; below 0 it is worse than the data's mean.
pub(crate) fn r_squared(model: &[f64], data: &[f64]) -> Option<f64> {
    let mean = mean(data)?;
    let variance: f64 = data.iter().map(|d| (d - mean).powi(2)).sum();
    (variance > 0.0).then(|| 1.0 - squares(model, data) / variance)
}

/// The factor by which a model comes nearest to the data, and what it then misses in squares.
pub(crate) fn scaled(model: &[f64], data: &[f64]) -> (f64, f64) {
    let (mut together, mut own) = (0.0, 0.0);
    for (m, d) in model.iter().zip(data) {
        together += m * d;
        own += m * m;
    }
    let factor = if own > 0.0 { together / own } else { 0.0 };
    let scaled: Vec<f64> = model.iter().map(|m| m * factor).collect();
    (factor, squares(&scaled, data))
}

/// The value between `low` and `high` (both above 0) that costs least: a coarse look over the logarithm, then a golden
/// section around the best.
pub(crate) fn cheapest(low: f64, high: f64, cost: impl Fn(f64) -> f64) -> f64 {
    const STEPS: usize = 200;
    let (low, high) = (low.ln(), high.ln());
    let at = |step: usize| low + (high - low) * step as f64 / STEPS as f64;
    let best = (0..=STEPS).min_by(|a, b| cost(at(*a).exp()).total_cmp(&cost(at(*b).exp())));
    let best = best.expect("there are steps");
    let (mut low, mut high) = (at(best.saturating_sub(1)), at((best + 1).min(STEPS)));
    let golden = (5.0f64.sqrt() - 1.0) / 2.0;
    for _ in 0..80 {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if cost(left.exp()) < cost(right.exp()) {
            high = right;
        } else {
            low = left;
        }
    }
    f64::midpoint(low, high).exp()
}

/// Between which bounds a statistic of pairs lies in 95 of 100 samples drawn from them with replacement (Efron 1979).
/// `None` where it has no value in most samples.
pub(crate) fn interval(
    a: &[f64],
    b: &[f64],
    statistic: impl Fn(&[f64], &[f64]) -> Option<f64>,
) -> Option<[f64; 2]> {
    const SAMPLES: usize = 2000;
    let mut draw = Draw::new(1);
    let mut found: Vec<f64> = (0..SAMPLES)
        .filter_map(|_| {
            let picked: Vec<usize> = (0..a.len()).map(|_| draw.below(a.len())).collect();
            let pick = |values: &[f64]| picked.iter().map(|at| values[*at]).collect::<Vec<_>>();
            statistic(&pick(a), &pick(b))
        })
        .collect();
    found.sort_by(f64::total_cmp);
    (found.len() > SAMPLES / 2).then(|| [found[found.len() * 25 / 1000], found[found.len() * 975 / 1000]])
}

/// Draws by a seed.
pub(crate) struct Draw(Random);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// Evenly from the open interval between 0 and 1.
    pub(crate) fn share(&mut self) -> f64 {
        ((self.0.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Evenly from 0 to `end` without it; `end` is above 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.share() * end as f64) as usize
    }

    /// From the logistic distribution around 0.
    pub(crate) fn logistic(&mut self, scale: f64) -> f64 {
        let share = self.share();
        scale * (share / (1.0 - share)).ln()
    }

    /// Puts a list into a random order (Fisher & Yates).
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_are_those_of_scipy() {
        let (a, b) = ([1.0, 2.0, 2.0, 4.0, 9.0], [2.0, 1.0, 4.0, 4.0, 5.0]);
        assert!((pearson(&a, &b).unwrap() - 0.730_063).abs() < 1e-6, "{:?}", pearson(&a, &b));
        assert!((spearman(&a, &b).unwrap() - 0.763_158).abs() < 1e-6, "{:?}", spearman(&a, &b));
        assert_eq!(pearson(&a, &[1.0; 5]), None);
        assert_eq!(pearson(&[], &[]), None);
    }

    #[test]
    fn fits_find_what_was_put_in() {
        let data: Vec<f64> = [1.0, 2.0, 5.0].iter().map(|t: &f64| 3.0 * (-t / 7.0).exp()).collect();
        let model = |scale: f64| [1.0, 2.0, 5.0].map(|t: f64| (-t / scale).exp());
        let scale = cheapest(0.01, 1000.0, |scale| scaled(&model(scale), &data).1);
        assert!((scale - 7.0).abs() < 1e-6, "{scale}");
        assert!((scaled(&model(scale), &data).0 - 3.0).abs() < 1e-6);
        assert_eq!(r_squared(&data, &data), Some(1.0));
        assert!((mean_deviation(&[1.0, 2.0], &[2.0, 4.0]) - 1.5).abs() < 1e-12);
    }

    #[test]
    fn draws_are_even_and_repeat_themselves() {
        let mut draw = Draw::new(7);
        let drawn: Vec<f64> = (0..10_000).map(|_| draw.share()).collect();
        assert!((mean(&drawn).unwrap() - 0.5).abs() < 0.01);
        let mut again = Draw::new(7);
        assert!(drawn.iter().all(|value| *value == again.share()));
        let mut list: Vec<usize> = (0..50).collect();
        draw.shuffle(&mut list);
        assert!(list != (0..50).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..50).collect::<Vec<_>>());
        let noise: Vec<f64> = (0..10_000).map(|_| draw.logistic(0.5)).collect();
        assert!(mean(&noise).unwrap().abs() < 0.03);
    }

    #[test]
    fn intervals_hold_the_statistic() {
        let a: Vec<f64> = (0..30).map(f64::from).collect();
        let b: Vec<f64> = a.iter().map(|x| x + 8.0 * (x * 12.9).sin()).collect();
        let [low, high] = interval(&a, &b, pearson).unwrap();
        let r = pearson(&a, &b).unwrap();
        assert!(low < r && r < high && high - low < 0.5, "{low} {r} {high}");
        assert_eq!(interval(&a, &[1.0; 30], pearson), None);
    }
}
