//! The built-in embedder: what the script that made its table says, and what holds for any text.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use engram_core::embed::{DIMENSIONS, embed};
use proptest::prelude::*;

fn similarity(a: &str, b: &str) -> f32 {
    let (a, b) = (embed(a).unwrap(), embed(b).unwrap());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn texts_have_the_vectors_that_the_script_gives_them() {
    for line in include_str!("../src/embed/golden.tsv").lines() {
        let (text, numbers) = line.split_once('\t').unwrap();
        let expected: Vec<f32> = numbers.split('\t').map(|number| number.parse().unwrap()).collect();
        let vector = embed(text).unwrap();
        let got = vector[..expected.len() - 1].iter().chain(vector.last());
        for (got, expected) in got.zip(&expected) {
            assert!((got - expected).abs() < 1e-3, "{text}: {got} for {expected}");
        }
    }
}

#[test]
fn what_means_the_same_lies_near() {
    let cases = [
        ("my dog chased the postman", "a puppy", "an automobile"),
        ("the car broke down", "an automobile", "a puppy"),
        ("she is a physician at the hospital", "doctor", "lawyer"),
    ];
    for (text, near, far) in cases {
        assert!(similarity(text, near) > similarity(text, far) + 0.05, "{text}");
    }
}

#[test]
fn case_accents_and_punctuation_do_not_matter() {
    assert_eq!(embed("Café, NOIR!"), embed("cafe noir"));
    assert_eq!(embed("cafe\u{301}"), embed("café"));
    for nothing in ["", " \n", "!?", "日本語", "\u{301}", "ß\u{1f600}"] {
        assert_eq!(embed(nothing), None, "{nothing:?}");
    }
}

proptest! {
    #[test]
    fn a_vector_is_finite_has_length_1_and_is_always_the_same(
        text in prop_oneof![any::<String>(), "[a-zA-Z0-9 éß.'-]{0,200}", "([a-z]{1,40} ?){0,40}"],
    ) {
        let vector = embed(&text);
        prop_assert_eq!(&vector, &embed(&text));
        if let Some(vector) = vector {
            prop_assert_eq!(vector.len(), DIMENSIONS);
            let length: f32 = vector.iter().map(|x| x * x).sum();
            prop_assert!((length - 1.0).abs() < 1e-5, "{}", length);
        }
    }
}
