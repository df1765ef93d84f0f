// Two to five models side by side, from window.BOARD and window.PAIRS; the choice is kept in the address.
addEventListener("DOMContentLoaded", () => {
  const { rows, columns } = window.BOARD;
  const models = rows.map((row, index) => ({ ...row, index })).filter((row) => row.origin === "measured");
  const ALPHA = 0.05;
  const MOST = 5;
  const spec = JSON.parse(document.getElementById("radar-spec").textContent);
  const asked = (new URLSearchParams(location.hash.slice(1)).get("m") ?? "").split("|").map((name) => models.find((row) => row.name === name));
  let chosen = [...new Set(asked.filter(Boolean))].slice(0, MOST);
  if (chosen.length < 2) chosen = models.slice(0, Math.min(3, models.length));

  const element = (tag, text, className) => Object.assign(document.createElement(tag), { textContent: text ?? "", className: className ?? "" });
  // The place of a pair (i < j) among those of n models, row by row.
  const place = (i, j, n) => i * n - (i * (i + 1)) / 2 + (j - i - 1);
  const pair = (column, first, other) => {
    const tested = window.PAIRS.columns[column];
    const [i, j] = [tested.rows.indexOf(first.index), tested.rows.indexOf(other.index)];
    if (i < 0 || j < 0) return null;
    const at = place(Math.min(i, j), Math.max(i, j), tested.rows.length);
    return { half: tested.half[at], p: tested.p[at] };
  };
  const holm = (tests) => {
    let largest = 0;
    [...tests].sort((a, b) => a.p - b.p).forEach((test, rank) => {
      largest = Math.max(largest, test.p * (tests.length - rank));
      test.adjusted = Math.min(1, largest);
    });
  };
  const shownP = (p) => (p < 0.001 ? "p < 0.001" : `p = ${p.toPrecision(2)}`);

  const choose = () => {
    const box = document.getElementById("choice");
    box.replaceChildren();
    for (let slot = 0; slot < Math.min(MOST, models.length); slot += 1) {
      const label = element("label", slot ? `Model ${slot + 1}` : "Against");
      const select = document.createElement("select");
      if (slot > 1) select.add(new Option("", ""));
      for (const model of models) select.add(new Option(model.name, String(model.index)));
      select.value = chosen[slot] ? String(chosen[slot].index) : "";
      select.addEventListener("change", () => {
        chosen[slot] = models.find((model) => String(model.index) === select.value);
        chosen = [...new Set(chosen.filter(Boolean))];
        history.replaceState(null, "", `#${new URLSearchParams({ m: chosen.map((model) => model.name).join("|") })}`);
        show();
      });
      label.append(select);
      box.append(label);
    }
  };

  const show = () => {
    choose();
    const table = document.getElementById("compared");
    table.replaceChildren();
    const head = table.insertRow();
    head.append(element("th", "Column"));
    for (const model of chosen) {
      const th = element("th", "", "number");
      const link = element("a", model.name);
      link.href = encodeURI(model.page);
      th.append(link);
      head.append(th);
    }
    const both = columns.map((_, index) => index).filter((index) => chosen.some((model) => model.cells[index]));
    const tests = [];
    for (const index of both) {
      for (const model of chosen.slice(1)) {
        const found = chosen[0].cells[index] && model.cells[index] ? pair(index, chosen[0], model) : null;
        if (found) tests.push(Object.assign(found, { index, model }));
      }
    }
    holm(tests);
    const wins = chosen.map(() => [0, 0]);
    for (const index of both) {
      const column = columns[index];
      const line = table.insertRow();
      const cell = element("td");
      const link = element("a", column.label);
      link.href = encodeURI(column.page);
      cell.append(link);
      line.append(cell);
      const values = chosen.map((model) => model.cells[index]).filter(Boolean).map((found) => found[0]);
      const best = column.higher ? Math.max(...values) : Math.min(...values);
      chosen.forEach((model, slot) => {
        const td = element("td", "", "number");
        const found = model.cells[index];
        if (!found) { td.textContent = found === 0 ? "failed" : ""; line.append(td); return; }
        td.append(element(found[0] === best ? "strong" : "span", found[0].toFixed(2)));
        const base = chosen[0].cells[index];
        if (slot && base) {
          const gain = (found[0] - base[0]) * (column.higher ? 1 : -1);
          const test = tests.find((one) => one.index === index && one.model === model);
          const apart = found[1] > base[2] || found[2] < base[1];
          const real = test ? test.adjusted < ALPHA : apart;
          const words = test ? `±${test.half.toFixed(2)}, ${shownP(test.adjusted)}` : apart ? "intervals apart" : "intervals touch";
          td.append(document.createElement("br"),
            element("span", `${found[0] >= base[0] ? "+" : ""}${(found[0] - base[0]).toFixed(2)} ${real ? (gain > 0 ? "better" : "worse") : "not told apart"}`, real ? (gain > 0 ? "good" : "bad") : "ci"),
            document.createElement("br"), element("span", words, "ci"));
          if (real) wins[slot][gain > 0 ? 0 : 1] += 1;
        }
        line.append(td);
      });
    }
    const total = table.insertRow();
    total.append(element("th", "Better / worse than the first"));
    wins.forEach(([better, worse], slot) => total.append(element("th", slot ? `${better} / ${worse}` : "", "number")));
    draw(both);
  };

  const draw = (shown) => {
    const spokes = shown.filter((index) => chosen.every((model) => model.cells[index])).slice(0, 16);
    const target = document.getElementById("radar");
    if (spokes.length < 3) { target.replaceChildren(element("span", "A radar needs three columns that all of these models have.", "note")); return; }
    const at = (spoke, radius) => {
      const angle = (2 * Math.PI * spoke) / spokes.length;
      return { x: radius * Math.sin(angle), y: radius * Math.cos(angle) };
    };
    const points = [];
    for (const ring of [25, 50, 75, 100]) for (let k = 0; k <= spokes.length; k += 1) points.push({ part: "ring", ring, order: k, ...at(k % spokes.length, ring) });
    spokes.forEach((index, spoke) => {
      const [x, y] = [at(spoke, 128).x, at(spoke, 115).y];
      points.push({ part: "label", label: `${columns[index].dataset} ${columns[index].task}`, x, y });
    });
    for (const model of chosen) {
      for (let k = 0; k <= spokes.length; k += 1) {
        const index = spokes[k % spokes.length];
        const all = models.map((row) => row.cells[index]).filter(Boolean).map((cell) => cell[0]);
        const [low, high] = [Math.min(...all), Math.max(...all)];
        const value = model.cells[index][0];
        const part = high > low ? (100 * (value - low)) / (high - low) : 50;
        points.push({ part: "model", model: model.name, order: k, value, label: columns[index].label, ...at(k % spokes.length, columns[index].higher ? part : 100 - part) });
      }
    }
    window.drawPlot(target, { ...spec, datasets: { points } });
  };
  document.addEventListener("theme", show);
  show();
  document.documentElement.dataset.ready = "compare";
});
