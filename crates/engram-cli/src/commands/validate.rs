//! `engram validate`: how well the dynamics of this memory follow what was measured of people's. Published tables are asked
//! of the engine itself, in this process; the same data give the same figures.

pub(crate) mod chart;
mod completion;
mod data;
mod drm;
mod fan;
mod forgetting;
mod golden;
mod lab;
mod learning;
mod paired;
mod priming;
mod report;
mod spacing;
mod stats;
mod usf;

use crate::commands::interrupt::Interrupt;
use crate::fault::{Result, failed};
use crate::made::Made;
use crate::screen::{Screen, strong};
use clap::Args;
use data::Data;
use lab::Lab;
use report::{Check, Report};
use std::path::PathBuf;

/// Measure how well forgetting, learning and association follow data of people
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram validate
  engram validate --output ./validation     and open validation/index.html
  engram validate ./eval --json

Tables of published data are inside the program: Ebbinghaus' savings and three
replications, spacing (Cepeda), the fan effect and paired associates (Anderson),
18 lists of false recall (Roediger). A FOLDER may hold others in their place:
forgetting/savings.tsv, forgetting/cepeda_spacing_recall.csv,
drm/drm_lists.jsonl; and usf/usf_edges.tsv.gz, the norms of free association,
which are not inside. What is absent is skipped, and said.

A figure with a bar is met or missed; one without stands there to compare with.
The exit code is 0 in either case: a miss is a finding. Nothing is kept, and no
server is asked.")]
pub(crate) struct Validate {
    /// Folder of data that take the place of the tables inside
    folder: Option<PathBuf>,
    /// Write a page with plots, the plots as SVG, and the figures as JSON into this folder
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

impl Validate {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        let data = Data::read(self.folder.as_deref())?;
        let interrupt = Interrupt::listen()?;
        let lab = Lab::new()?;
        let norms = data.norms.as_ref();
        // What the world would know first comes first; the slow ones last.
        let asks: [&dyn Fn() -> Result<Check>; 10] = [
            &|| Ok(golden::check()),
            &|| Ok(forgetting::check(&data.savings)),
            &|| Ok(spacing::check(&data.spacing)),
            &|| Ok(paired::check()),
            &|| fan::check(&lab),
            &|| priming::check(&lab, &data.lists),
            &|| drm::check(&lab, &data.lists, norms),
            &|| usf::check(&lab, norms),
            &|| learning::check(&lab, &data.lists, norms),
            &|| completion::check(),
        ];
        let mut checks = Vec::new();
        for ask in asks {
            if interrupt.is_asked() {
                return failed("stopped");
            }
            let check = ask()?;
            if !self.json {
                check.show(screen)?;
            }
            checks.push(check);
        }
        lab.close()?;
        let report = Report::new(Made::now(), checks);
        if let Some(folder) = &self.output {
            report.write(folder)?;
        }
        if self.json {
            return screen.json(&report);
        }
        screen.line("")?;
        let Report { met, missed, skipped, .. } = report;
        screen.line(strong().apply_to(format!("{met} bars met, {missed} missed, {skipped} skipped")))?;
        match &self.output {
            Some(folder) => screen.line(format_args!("Plots: {}", folder.join(report::PAGE).display())),
            None => screen.line("Plots: engram validate --output DIR"),
        }
    }
}
