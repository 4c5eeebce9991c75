async function draw(figure) {
  const readout = figure.querySelector(".readout");
  const specification = JSON.parse(figure.querySelector("script").textContent);
  const steps = specification.datasets.steps;
  const key = Object.keys(steps[0])[0];
  const said = new Map(steps.map((row) => [row[key], row.said]));
  const view = await embed(figure, specification);
  view?.addSignalListener("nearest", (_, chosen) => {
    readout.textContent = said.get(chosen[key]?.[0]) ?? steps.at(-1).said;
  });
}

document.querySelectorAll("figure.chart").forEach(draw);
