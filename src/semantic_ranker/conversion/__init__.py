"""From the weights of BERT-like models to ONNX graphs, without torch and without the onnx package."""
