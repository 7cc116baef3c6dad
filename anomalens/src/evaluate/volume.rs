//! The slices of each subject.

use anomalens_cohort::Cohort;
use anomalens_cohort::synthetic::{self, chest};

/// The slices of one subject that the cohort holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Whose they are.
    pub subject: String,
    /// All of them, ascending places in the cohort.
    pub all: Vec<usize>,
    /// Those that are scored, at least one.
    pub chosen: Vec<usize>,
}

/// The volumes of the `chosen` slices, which ascend; in the order of their first slice.
pub fn volumes(cohort: &Cohort, chosen: &[usize]) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for &index in chosen {
        let subject = &cohort.item(index).subject;
        let place = *places.entry(subject.as_str()).or_insert_with(|| {
            volumes.push(Volume { subject: subject.clone(), all: vec![], chosen: vec![] });
            volumes.len() - 1
        });
        volumes[place].chosen.push(index);
    }
    for (index, item) in cohort.items().iter().enumerate() {
        if let Some(&place) = places.get(item.subject.as_str()) {
            volumes[place].all.push(index);
        }
    }
    volumes
}

/// What a subject of this kind of cohort is, and so what an interval speaks of.
pub fn meaning(kind: &str) -> &'static str {
    match kind {
        synthetic::KIND | chest::KIND => {
            "a subject is one phantom: intervals say how the scores vary over phantoms of this generator, not over patients"
        }
        _ => {
            "a subject is what the cohort calls one, which should be one patient: intervals say how the scores vary over subjects"
        }
    }
}
