// The table of the first page: DataTables over window.BOARD, its choices kept in the address.
(async () => {
  const board = window.BOARD;
  const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
  const FACTS = [
    ["architecture", "Architecture"], ["method", "Method"], ["data", "Pre-training data"], ["epochs", "Epochs"],
  ];
  const COSTS = [["params", "Parameters, M"], ["macs", "Multiply-adds, G"], ["rate", "Images/s"]];
  const WIDTH = 12; // score columns that are shown at first

  const limits = board.columns.map((column, index) => {
    const values = board.rows.filter((row) => row.origin === "measured" && row.cells[index]).map((row) => row.cells[index][0]);
    return [Math.min(...values), Math.max(...values), column.higher];
  });
  const share = (index, value) => {
    const [low, high, higher] = limits[index];
    const part = high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0;
    return higher ? part : 1 - part;
  };
  const score = (index) => ({
    name: `c${index}`, className: "score", type: "score", orderSequence: board.columns[index].higher ? ["desc", "asc", ""] : ["asc", "desc", ""],
    visible: false, searchable: false, data: (row) => row.cells[index],
    render: (cell, kind) => {
      if (kind !== "display") return cell ? cell[0] : null;
      if (cell === null) return "";
      if (cell === 0) return '<span class="failed">failed</span>';
      const half = cell.length > 2 ? ` <span class="ci">±${((cell[2] - cell[1]) / 2).toFixed(1)}</span>` : "";
      return `${cell[0].toFixed(2)}${half}${cell[3] ? ' <span class="star" title="better than every other model">★</span>' : ""}`;
    },
    createdCell: (td, cell) => { if (cell) td.style.setProperty("--s", share(index, cell[0]).toFixed(3)); },
  });
  const text = (key) => ({
    name: key, visible: false, data: (row) => row[key] ?? "", render: (value, kind) => (kind === "display" ? escape(value) : value),
  });
  const number = (key) => ({
    name: key, className: "score", type: "score", visible: false, searchable: false, data: (row) => row[key],
    render: (value, kind) => (kind === "display" ? (value === null ? "" : value.toLocaleString("en", { maximumFractionDigits: 1 })) : value),
  });
  const model = {
    name: "model", data: (row) => row.name,
    render: (name, kind, row) => {
      if (kind !== "display") return row.origin === "measured" ? name : `${name} published`;
      const shown = row.page ? `<a href="${escape(encodeURI(row.page))}">${escape(name)}</a>` : escape(name);
      return row.origin === "measured" ? shown : `${shown} <span class="badge" title="${escape(row.source)}">published</span>`;
    },
  };
  const facts = FACTS.filter(([key]) => board.rows.some((row) => row[key] !== null));
  const costs = COSTS.filter(([key]) => board.rows.some((row) => row[key] !== null));
  const columns = [model, ...facts.map(([key]) => text(key)), ...costs.map(([key]) => number(key)), ...board.columns.map((_, index) => score(index)),
    { name: "origin", visible: false, data: (row) => row.origin }];
  const title = (column) => {
    const link = `<a href="${escape(encodeURI(column.page))}" title="${escape(column.label)} (${escape(column.protocol)})">${escape(column.task)}</a>`;
    return `<small>${escape(column.dataset)}</small>${link}<small>${escape(column.metric)}${column.higher ? "" : " ↓"}${column.paper ? " (paper)" : ""}</small>`;
  };
  const titles = ["Model", ...facts.map(([, name]) => name), ...costs.map(([, name]) => name), ...board.columns.map(title), "Origin"];

  // What is chosen, in the address: q, order, show, group and the filters.
  const read = () => new URLSearchParams(location.hash.slice(1));
  const FILTERS = ["family", "task", "protocol", "dataset", "architecture", "method", "data", "epochs", "origin"];
  const state = read();
  const label = (index) => columns[index].name;
  const standard = () => {
    const narrow = innerWidth < 640; // a phone shows scores first
    const shown = new Set(narrow ? ["model"] : ["model", "architecture"]);
    board.columns.map((column, index) => [column.models, index]).sort((a, b) => b[0] - a[0] || a[1] - b[1]).slice(0, WIDTH)
      .forEach(([, index]) => shown.add(`c${index}`));
    if (!narrow && facts.some(([key]) => key === "data")) shown.add("data");
    if (!narrow && costs.length) shown.add("params");
    return shown;
  };
  const fits = (column) => ["family", "task", "protocol", "dataset"].every((key) => !state.get(key) || state.get(key) === column[key]);
  const wanted = () => {
    if (state.has("show")) return new Set(["model", ...state.get("show").split(",")]);
    const narrowed = ["family", "task", "protocol", "dataset"].some((key) => state.get(key));
    const shown = standard();
    if (narrowed) board.columns.forEach((_, index) => shown.add(`c${index}`));
    return shown;
  };

  const module = await window.dataTables;
  const DataTable = module.default;
  const order = module.jQuery.fn.dataTable.ext.type.order;
  // Empty cells come last in either direction.
  order["score-asc"] = (a, b) => (a === null) - (b === null) || a - b;
  order["score-desc"] = (a, b) => (a === null) - (b === null) || b - a;
  order["score-pre"] = (value) => (typeof value === "number" ? value : null);

  const element = document.getElementById("board");
  const head = element.createTHead().insertRow();
  titles.forEach((html, index) => {
    const th = document.createElement("th");
    th.innerHTML = index > facts.length + costs.length && index < titles.length - 1 ? html : escape(html);
    head.append(th);
  });
  const first = wanted();
  columns.forEach((column) => { column.visible = first.has(column.name); });
  const orders = (state.get("order") ?? "").split(",").filter(Boolean).map((part) => part.split(":"))
    .map(([name, way]) => [columns.findIndex((column) => column.name === name), way === "asc" ? "asc" : "desc"]).filter(([index]) => index >= 0);
  const table = new DataTable(element, {
    data: board.rows, columns, order: orders, pageLength: 50, lengthMenu: [25, 50, 100, 500], autoWidth: false,
    layout: { topStart: null, topEnd: null, bottomStart: ["pageLength", "info"], bottomEnd: "paging" },
    search: { search: state.get("q") ?? "" },
    createdRow: (tr, row) => { if (row.origin === "published") tr.classList.add("published"); },
    rowGroup: { enable: false, dataSrc: (row) => row[state.get("group")] ?? "not said", startRender: (rows, group) => document.createTextNode(`${group} (${rows.count()})`) },
    language: { emptyTable: "no model", zeroRecords: "no model fits", info: "_START_ to _END_ of _TOTAL_ models", infoFiltered: "(of _MAX_)" },
  });

  const save = () => {
    for (const [key, value] of [...state]) if (!value) state.delete(key);
    history.replaceState(null, "", `#${state}`);
  };
  const applyRows = () => {
    for (const [key] of [...facts, ["origin"]]) {
      const value = state.get(key) ?? "";
      const pattern = value ? `^${value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$` : "";
      table.column(`${key}:name`).search(pattern, { regex: true, smart: false });
    }
    const group = state.get("group");
    const place = columns.findIndex((column) => column.name === group);
    if (place >= 0) { table.rowGroup().enable(); table.order.fixed({ pre: [place, "asc"] }); } else { table.rowGroup().disable(); table.order.fixed({ pre: [] }); }
    table.draw();
  };
  const chooser = document.querySelector("details.columns > div");
  const applyColumns = () => {
    const shown = wanted();
    columns.forEach((column, index) => {
      const score = /^c\d+$/.test(column.name);
      const visible = column.name === "model" || (shown.has(column.name) && column.name !== "origin" && (!score || fits(board.columns[Number(column.name.slice(1))])));
      if (table.column(index).visible() !== visible) table.column(index).visible(visible, false);
      const box = chooser.querySelector(`input[data-name="${column.name}"]`);
      if (box) box.checked = visible;
    });
    table.columns.adjust();
  };

  columns.slice(1, -1).forEach((column) => {
    const line = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox" });
    box.dataset.name = column.name;
    const index = /^c\d+$/.test(column.name) ? Number(column.name.slice(1)) : -1;
    const name = index < 0 ? titles[columns.indexOf(column)] : board.columns[index].label;
    line.append(box, name);
    chooser.append(line);
    box.addEventListener("change", () => {
      const shown = [...chooser.querySelectorAll("input:checked")].map((each) => each.dataset.name);
      state.set("show", shown.join(",") || "model");
      save(); applyColumns();
    });
  });
  const options = {
    ...Object.fromEntries(["family", "task", "protocol", "dataset"].map((key) => [key, board.columns.map((column) => column[key])])),
    ...Object.fromEntries([...facts.map(([key]) => key), "origin"].map((key) => [key, board.rows.map((row) => row[key]).filter((v) => v !== null)])),
    group: facts.map(([key]) => key),
  };
  for (const select of document.querySelectorAll(".toolbar select")) {
    const key = select.name;
    const values = [...new Set((options[key] ?? []).map(String))];
    if (key !== "group") values.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    if (values.length < 2 && !(key === "group" && values.length)) { select.closest("label").remove(); continue; }
    for (const value of values) select.add(new Option(key === "group" ? FACTS.find(([name]) => name === value)[1] : value, value));
    select.value = state.get(key) ?? "";
    select.addEventListener("change", () => {
      state.set(key, select.value);
      if (["family", "task", "protocol", "dataset"].includes(key)) state.delete("show");
      save(); applyColumns(); applyRows();
    });
  }
  const search = document.querySelector(".toolbar input[type=search]");
  search.value = state.get("q") ?? "";
  search.addEventListener("input", () => { state.set("q", search.value); save(); table.search(search.value).draw(); });
  table.on("order.dt", () => {
    state.set("order", table.order().filter(([, way]) => way).map(([index, way]) => `${label(index)}:${way}`).join(","));
    save();
  });
  document.getElementById("reset").addEventListener("click", () => { history.replaceState(null, "", "#"); location.reload(); });
  applyColumns(); applyRows();
  document.documentElement.dataset.ready = "board";
})();
