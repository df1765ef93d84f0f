"""The detection task: its protocols, and where each makes sense."""

from __future__ import annotations

from typing import ClassVar

from benchmark.backbones.backbone import Backbone
from benchmark.errors import NotApplicable, RequestError
from benchmark.protocol import ProtocolSettings
from benchmark.task import ImageInputs, Predictions, Task
from tasks.detection.protocols import PROTOCOLS
from tasks.detection.settings import DetectionSettings
from tasks.openmmlab import ops
from tasks.openmmlab.quiet import quiet


class Detection(Task):
    """Boxes, and masks where the data has any, from a detector that is trained on the encoder.

    Budgets are part of a protocol's name: figures of different budgets are never ranked together.
    """

    name = "detection"
    summary = "objects, and their masks, by a detector trained on the encoder or on its frozen maps"
    needs = ("backbone",)
    learns = "objects"
    scorer = "detection"
    headline = "AP"
    protocols: ClassVar = PROTOCOLS

    def scorer_of(self, protocol: ProtocolSettings, multilabel: bool) -> str:
        """COCO's figures or VOC's, as the protocol says."""
        assert isinstance(protocol, DetectionSettings)
        return "detection-voc" if protocol.figures == "voc" else self.scorer

    def headline_of(self, protocol: ProtocolSettings, dataset: str, multilabel: bool) -> str:
        """AP of boxes, whatever labels images have."""
        return self.headline

    def check_encoder(self, protocol: ProtocolSettings, backbone: Backbone) -> None:
        """Whether the detector can stand on the encoder.

        Raises:
            NotApplicable: it cannot.
            RequestError: the `dense` extra is not installed.
        """
        super().check_encoder(protocol, backbone)
        ops.provide()
        with quiet():
            from tasks.detection.fit import configuration
            from tasks.openmmlab.adapter import HarnessBackbone
            from tasks.openmmlab.res5 import HarnessRes5

        assert isinstance(protocol, DetectionSettings)
        try:
            config = configuration(backbone, protocol, classes=1, masks=False)
            options = {key: value for key, value in config["backbone"].items() if key != "type"}
            HarnessRes5(backbone) if protocol.detector == "c4" else HarnessBackbone(**options)
        except RequestError as error:
            raise NotApplicable(error.expected, error.found, error.todo) from error

    def predict(self, inputs: ImageInputs, protocol: DetectionSettings, seed: int) -> Predictions:
        """Trains on the training split and predicts the reported one."""
        ops.provide()  # before anything of mmcv is imported
        with quiet():
            from tasks.detection.fit import predict_objects

        return predict_objects(inputs, protocol, seed)
