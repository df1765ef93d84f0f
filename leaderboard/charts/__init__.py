"""Charts of robustness results, from their stored predictions and figures: what `show` makes pictures of and the site
puts on its pages.

`study` reads a result · a module per kind of change (`corruptions`, `changes`, `adversarial`, `calibration`, `ood`,
`shift`, `shape_bias`) turns one study, or several of one column, into a `chart` · `kinds` knows which · `pictures`
writes PNG files. Figures come from scorers alone; colours and fonts are those of where a chart is put.
"""
