"""Pure, batched, differentiable geometry: image maps, heatmap coordinates, cameras.

Pixels: the centre of the top-left pixel is (0, 0). Points are ``uv`` = (column, row).
Cameras look along +z with +x right and +y down (OpenCV axes).
"""
